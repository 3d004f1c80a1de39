// Reads `.env` beside the samples, if there is one. Variables that are set already win.
import { existsSync } from "node:fs";

const file = new URL(".env", import.meta.url);
if (existsSync(file)) process.loadEnvFile(file);
