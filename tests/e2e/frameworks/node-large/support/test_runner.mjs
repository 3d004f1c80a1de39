// Runs two generated test files with a test runner. Each of them writes the role that it has logged in as.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const project = dirname(dirname(fileURLToPath(import.meta.url)));

/** Returns the one role of both files. `argumentsOf` gets the folder of the tests, `textOf` the file of the role. */
export function runTests(program, argumentsOf, extension, textOf) {
    const folder = mkdtempSync(join(project, "tests-"));
    try {
        const files = ["one", "two"].map((name) => join(folder, name));
        for (const file of files) writeFileSync(`${file}.test.${extension}`, textOf(JSON.stringify(`${file}.role`)));
        const command = join(project, "node_modules", program);
        execFileSync(process.execPath, [command, ...argumentsOf(folder)], { cwd: folder, stdio: "pipe" });
        const roles = new Set(files.map((file) => readFileSync(`${file}.role`, "utf8")));
        if (roles.size !== 1) throw new Error(`several roles: ${[...roles]}`);
        return [...roles][0];
    } finally {
        rmSync(folder, { recursive: true });
    }
}
