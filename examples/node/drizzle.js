// Drizzle on node-postgres.
import { reportLogin } from "./setup.js";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { entraConfig } from "pgentra";

const db = drizzle({ connection: await entraConfig() });
const { rows } = await db.execute(sql`select current_user as role`);
reportLogin("drizzle", rows[0].role);
await db.$client.end();
