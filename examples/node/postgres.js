// postgres.js: the same names of options. The token is fetched before a connection is opened.
import { reportLogin } from "./setup.js";
import postgres from "postgres";
import { entraPostgresConfig } from "pgentra";

const { PGHOST, PGPORT = "5432", PGDATABASE = "postgres" } = process.env;
const sql = postgres(await entraPostgresConfig({ host: PGHOST, port: Number(PGPORT), database: PGDATABASE }));
const [{ role }] = await sql`select current_user as role`;
reportLogin("postgres", role);
await sql.end();
