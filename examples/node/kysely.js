// Kysely on a pool of node-postgres.
import { reportLogin } from "./setup.js";
import { Kysely, PostgresDialect, sql } from "kysely";
import pg from "pg";
import { entraConfig } from "pgentra";

const db = new Kysely({ dialect: new PostgresDialect({ pool: new pg.Pool(await entraConfig()) }) });
const { rows } = await sql`select current_user as role`.execute(db);
reportLogin("kysely", rows[0].role);
await db.destroy();
