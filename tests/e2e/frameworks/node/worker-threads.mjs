// Threads of Node itself.
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import pg from "pg";
import { entraClient } from "pgentra";

if (isMainThread) {
    const threads = Array.from({ length: 3 }, () => new Worker(fileURLToPath(import.meta.url)));
    const roles = await Promise.all(threads.map(async (thread) => (await once(thread, "message"))[0]));
    console.log(...new Set(roles));
} else {
    const pool = new pg.Pool({ Client: entraClient(pg.Client) });
    parentPort.postMessage((await pool.query("select current_user as role")).rows[0].role);
    await pool.end();
}
