// Jest: its own module registry, fake timers, two files in two processes.
import { runTests } from "./support/test_runner.mjs";

const argumentsOf = (folder) => [
    "--maxWorkers=2",
    "--config",
    JSON.stringify({ rootDir: folder, testEnvironment: "node" }),
];
const textOf = (file) => `
    let pool;
    beforeEach(() => {
        jest.resetModules();
        pool = new (require("pg").Pool)({ Client: require("pgentra").entraClient(require("pg").Client), max: 1 });
    });
    afterEach(() => pool.end());
    test.each([1, 2])("role %d", async () => {
        const { rows } = await pool.query("select current_user as role");
        require("node:fs").writeFileSync(${file}, rows[0].role);
    });
    test("role with fake timers", async () => {
        jest.useFakeTimers({ doNotFake: ["nextTick", "setImmediate"] });
        expect((await pool.query("select current_user as role")).rows).toHaveLength(1);
    });`;
console.log(runTests("jest/bin/jest.js", argumentsOf, "js", textOf));
