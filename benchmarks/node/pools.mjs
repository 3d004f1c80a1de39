// The pools of ../soak.py in Node: every driver of bindings-node/tests/drivers.mjs, a line for each login.

import { DRIVERS } from "../../bindings-node/tests/drivers.mjs";

const SIZE = 2;
const KEPT_MS = 1000;
const CLOSE_LIMIT_MS = 20_000;
const { PGHOST: host, PGPORT: port, PGDATABASE: database } = process.env;
const place = { host, port: Number(port), database, ssl: true };
let isOver = false;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function run(name) {
    const pool = await DRIVERS[name].open(place, undefined, { max: SIZE });
    const repeat = async (index) => {
        await pause((index * KEPT_MS) / SIZE);
        while (!isOver) {
            const [began, started] = [Date.now() / 1000, performance.now()];
            let [role, problem] = ["", ""];
            try {
                ({ role } = await pool.who());
            } catch (error) {
                problem = `${error?.name}: ${error?.message}`.replace(/\s+/g, " ");
            }
            const took = (performance.now() - started) / 1000;
            console.log([name, began.toFixed(3), took.toFixed(3), role, problem].join("\t"));
            await pause(KEPT_MS);
        }
    };
    await Promise.all(Array.from({ length: SIZE }, (_, index) => repeat(index)));
    const isClosed = await Promise.race([
        Promise.resolve(pool.close()).then(() => true),
        pause(CLOSE_LIMIT_MS).then(() => false),
    ]);
    if (!isClosed) throw new Error(`${name}: the pool did not close within ${CLOSE_LIMIT_MS} ms`);
}

// Drivers that keep a client of pg without a listener: the server has closed the session of a client that is not in use.
process.on("uncaughtException", (error) => {
    if (!/Connection terminated|terminating connection|ECONNRESET/.test(error.message)) throw error;
});
process.stdin.resume().on("end", () => (isOver = true));
await Promise.all(Object.keys(DRIVERS).map(run));
process.exit();
