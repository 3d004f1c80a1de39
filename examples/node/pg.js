// node-postgres: a pool whose connections log in with the current token.
import { reportLogin } from "./setup.js";
import pg from "pg";
import { entraConfig, retryingClient } from "pgentra";

// Host, port and database come from PGHOST, PGPORT, PGDATABASE. `retryingClient` is optional.
const pool = new pg.Pool({ ...(await entraConfig()), Client: retryingClient(pg.Client) });
const { rows } = await pool.query("select current_user as role");
reportLogin("pg", rows[0].role);
await pool.end();
