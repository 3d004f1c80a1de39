#!/usr/bin/env node
"use strict";

// The command `pgentra-emulator`: runs the program of this platform, and ends as it does.

const { spawn } = require("node:child_process");
const { constants } = require("node:os");

let program;
try {
  program = require("./index.js").path;
} catch (error) {
  console.error(`pgentra-emulator: ${error.message}`);
  process.exit(1);
}
const child = spawn(program, process.argv.slice(2), { stdio: "inherit" });
// At a terminal, the keyboard sends SIGINT to the program too.
process.on("SIGINT", () => {});
for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("error", (error) => {
  console.error(`pgentra-emulator: ${program} cannot be started: ${error.message}`);
  process.exit(126);
});
child.on("exit", (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : code));
