// Vitest: two files, in threads and in processes.
import { runTests } from "./support/test_runner.mjs";

const textOf = (file) => `
    import { writeFileSync } from "node:fs";
    import pg from "pg";
    import { entraConfig } from "pgentra";
    import { test } from "vitest";

    test("role", async () => {
        const pool = new pg.Pool(await entraConfig());
        const { rows } = await pool.query("select current_user as role");
        writeFileSync(${file}, rows[0].role);
        await pool.end();
    });`;
const roles = ["threads", "forks"].map((pool) =>
    runTests("vitest/vitest.mjs", (folder) => ["run", "--root", folder, `--pool=${pool}`], "mjs", textOf),
);
console.log(...new Set(roles));
