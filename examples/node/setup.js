// What the samples share: the variables of `.env` beside them, if there is one (those that are set already win), and a line
// that says who is logged in.
import { existsSync } from "node:fs";

const file = new URL(".env", import.meta.url);
if (existsSync(file)) process.loadEnvFile(file);

const started = performance.now();

export function reportLogin(sample, role) {
  console.log(`${sample}: logged in as ${role} after ${Math.round(performance.now() - started)} ms`);
}
