// Slonik from version 49, which accepts a password function.
import { createPool, sql } from "slonik";
import { entraConfig } from "pgentra";
import { z } from "zod";

const { PGHOST: host, PGPORT: port, PGDATABASE: database } = process.env;
const { user, password, ssl } = await entraConfig({ host, port, database, ssl: true });
const pool = await createPool(`postgresql://${encodeURIComponent(user)}@${host}:${port}/${database}`, {
    password,
    ssl,
});
const role = z.object({ role: z.string() });
console.log((await pool.one(sql.type(role)`select current_user::text as role`)).role);
await pool.end();
