// Sequelize 6: a hook sets user and password of each new connection.
import { reportLogin } from "./setup.js";
import { Sequelize } from "sequelize";
import { configureEntraAuthentication } from "pgentra";

const { PGHOST, PGPORT = "5432", PGDATABASE = "postgres" } = process.env;
const sequelize = new Sequelize({
  dialect: "postgres",
  host: PGHOST,
  port: Number(PGPORT),
  database: PGDATABASE,
  logging: false,
});
configureEntraAuthentication(sequelize);
await sequelize.authenticate();
const [[{ role }]] = await sequelize.query("select current_user as role");
reportLogin("sequelize", role);
await sequelize.close();
