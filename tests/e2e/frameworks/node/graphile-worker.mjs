// Graphile Worker: a job reads the role.
import { Logger, quickAddJob, run } from "graphile-worker";
import pg from "pg";
import { entraConfig } from "pgentra";

const pgPool = new pg.Pool(await entraConfig());
const options = {
    pgPool,
    schema: `graphile_${process.env.TEST_NUMBER}`,
    logger: new Logger(() => () => {}),
};
let resolveRole;
const role = new Promise((resolve) => {
    resolveRole = resolve;
});
const taskList = {
    role: async (_, helpers) => {
        const { rows } = await helpers.query("select current_user as role");
        resolveRole(rows[0].role);
    },
};
await quickAddJob(options, "role");
const runner = await run({
    ...options,
    taskList,
    parsedCronItems: [],
    noHandleSignals: true,
});
console.log(await role);
await runner.stop();
await pgPool.query(`drop schema ${options.schema} cascade`);
await pgPool.end();
