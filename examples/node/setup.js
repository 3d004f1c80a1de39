// Shared by the examples: loads `.env` if it exists (variables that are set take precedence), and prints the role.
import { existsSync } from "node:fs";

const file = new URL(".env", import.meta.url);
if (existsSync(file)) process.loadEnvFile(file);

const started = performance.now();

export function reportLogin(sample, role) {
  console.log(`${sample}: logged in as ${role} after ${Math.round(performance.now() - started)} ms`);
}
