// postgres.js: the same names of options, and a password function.
import "./env.js";
import postgres from "postgres";
import { entraConfig } from "pgentra";

const { PGHOST, PGPORT = "5432", PGDATABASE = "postgres" } = process.env;
const sql = postgres(
  // postgres.js does not read PGSSLMODE, so TLS is asked for here.
  await entraConfig({ host: PGHOST, port: Number(PGPORT), database: PGDATABASE, ssl: "verify-full" }),
);
const [{ role }] = await sql`select current_user as role`;
console.log(`connected as ${role}`);
await sql.end();
