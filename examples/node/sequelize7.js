// Sequelize 7 (alpha): the same hook.
import { reportLogin } from "./setup.js";
import { Sequelize } from "@sequelize/core";
import { PostgresDialect } from "@sequelize/postgres";
import { configureEntraAuthentication } from "pgentra";

const { PGHOST, PGPORT = "5432", PGDATABASE = "postgres" } = process.env;
const sequelize = new Sequelize({
  dialect: PostgresDialect,
  host: PGHOST,
  port: Number(PGPORT),
  database: PGDATABASE,
});
configureEntraAuthentication(sequelize);
await sequelize.authenticate();
const [[{ role }]] = await sequelize.query("select current_user as role");
reportLogin("sequelize7", role);
await sequelize.close();
