// TypeORM: accepts the options of pg, with `username` as the user.
import { reportLogin } from "./setup.js";
import { DataSource } from "typeorm";
import { entraConfig } from "pgentra";

const { PGHOST, PGPORT = "5432", PGDATABASE = "postgres" } = process.env;
const { user: username, ...connection } = await entraConfig({
  host: PGHOST,
  port: Number(PGPORT),
  database: PGDATABASE,
});
const source = new DataSource({ type: "postgres", username, ...connection });
await source.initialize();
const [{ role }] = await source.query("select current_user as role");
reportLogin("typeorm", role);
await source.destroy();
