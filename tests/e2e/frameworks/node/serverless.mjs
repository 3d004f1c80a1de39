// A serverless function: two calls share the pool that the module makes.
import pg from "pg";
import { entraConfig } from "pgentra";

const pool = new pg.Pool({ ...(await entraConfig({}, undefined, { mode: "lazy" })), max: 2 });

export async function handler() {
    const { rows } = await pool.query("select current_user as role");
    return { statusCode: 200, body: rows[0].role };
}

await handler();
console.log((await handler()).body);
await pool.end();
