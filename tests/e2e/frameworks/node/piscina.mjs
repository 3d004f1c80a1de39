// Piscina: each thread has its own pool; all share one cached token.
import { fileURLToPath } from "node:url";
import { isMainThread } from "node:worker_threads";
import pg from "pg";
import { entraConfig } from "pgentra";
import Piscina from "piscina";

const pool = isMainThread ? undefined : new pg.Pool({ ...(await entraConfig()), max: 1 });

export default async function role() {
    return (await pool.query("select current_user as role")).rows[0].role;
}

if (isMainThread) {
    const threads = new Piscina({ filename: fileURLToPath(import.meta.url), minThreads: 2, maxThreads: 2 });
    const roles = await Promise.all(Array.from({ length: 6 }, () => threads.run()));
    console.log(...new Set(roles));
    await threads.destroy();
}
