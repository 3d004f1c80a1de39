// Measures pgentra for Node against `@azure/identity` with `@azure/postgresql-auth`, side by side in one run.
//
//   node run.mjs TARBALLS    the folder with the tarballs of `make npm`, which are installed as users install them
//
// Every figure is the median of 5 processes, alternating between pgentra and the peer, on one emulator. The table becomes the part
// "Node" of ../results.md. Targets that are missed are marked.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Emulator } from "../../bindings-node/tests/emulator.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const tarballs = resolve(process.argv[2]);
const project = mkdtempSync(join(tmpdir(), "pgentra-bench-"));
process.on("exit", () => rmSync(project, { recursive: true, force: true }));
writeFileSync(join(project, "package.json"), '{"private": true}');
const files = readdirSync(tarballs).filter((name) => name.endsWith(".tgz"));
execFileSync(
    "npm",
    ["install", "--silent", "--offline", "--no-audit", "--no-fund", ...files.map((name) => join(tarballs, name))],
    {
        cwd: project,
    },
);
const root = join(project, "node_modules/pgentra");
const RUNS = 5;
const SECRET = "bench-api-secret";

const emulator = await Emulator.start("--config", join(here, "../emulator.toml"));
const principals = await emulator.call("GET", "/principals");
const { appid } = (principals.principals ?? principals).find(({ name }) => name === "bench-api");
const application = { authorityHost: emulator.authorityHost, tenantId: emulator.tenantId, clientId: appid };
const env = {
    ...emulator.environment(),
    PGENTRA_PACKAGE: root,
    PGENTRA_BENCHMARK: JSON.stringify({ ...application, clientSecret: SECRET }),
};

/** Runs one measurement; `between` runs while the program has a token and waits. */
async function once(measure, who, between) {
    await emulator.call("DELETE", "/requests");
    const child = spawn(process.execPath, [join(here, "measure.mjs"), measure, who], {
        env,
        stdio: ["pipe", "pipe", "inherit"],
    });
    const watchdog = setTimeout(() => child.kill("SIGKILL"), 60_000);
    let result;
    for await (const line of createInterface(child.stdout)) {
        result = JSON.parse(line);
        if (!result.ready) continue;
        await between();
        child.stdin.end("\n");
    }
    clearTimeout(watchdog);
    const { counters } = await emulator.call("GET", "/requests");
    return { ...result, requests: counters.token?.total ?? 0 };
}

async function both(measure, between) {
    const runs = { ours: [], peer: [] };
    for (let run = 0; run < RUNS; run++) {
        for (const who of ["ours", "peer"]) runs[who].push(await once(measure, who, between));
    }
    return [median(runs.ours), median(runs.peer)];
}

async function alone(measure, who, between, count = RUNS) {
    const results = [];
    for (let run = 0; run < count; run++) results.push(await once(measure, who, between));
    return median(results);
}

function median(results) {
    const middle = (key) =>
        results.map((one) => one[key]).sort((one, other) => one - other)[Math.floor(results.length / 2)];
    const numbers = Object.keys(results[0]).filter((key) => typeof results[0][key] === "number");
    const errors = results.map(({ error }) => error).filter(Boolean);
    return { ...Object.fromEntries(numbers.map((key) => [key, middle(key)])), error: errors[0] };
}

const rows = [];
function add(work, must, ours, peer, ok) {
    rows.push(`| ${work} | ${must} | ${ours} | ${peer} | ${ok ? "ok" : "**short**"} |`);
    console.log(`[pgentra] ${work}: ${ours} (must be ${must}; peer ${peer})${ok ? "" : "  SHORT"}`);
}
const us = (value) => `${value.toFixed(2)} us`;
const ms = (value) => `${value.toFixed(1)} ms`;
const size = (folder) => Number(execFileSync("du", ["-sk", folder], { encoding: "utf8" }).split("\t")[0]) / 1024;

async function withFault(fault, work) {
    const id = await emulator.addFault(fault);
    try {
        return await work();
    } finally {
        await emulator.clearFault(id);
    }
}

const login = await alone("warm_login", "ours");
const [managed, peerManaged] = await both("warm_managed");
const [secret, peerSecret] = await both("warm_secret");
add("warm `login()`, its synchronous core", "<= 2 us", us(login.us), "none", login.us <= 2);
add("warm password function, managed identity", "<= 3 us", us(managed.us), us(peerManaged.us), managed.us <= 3);
add("warm password function, secret", "<= 3 us", us(secret.us), us(peerSecret.us), secret.us <= 3);

const [loaded, peerLoaded] = await both("load");
add("import", "<= 15 ms", ms(loaded.ms), ms(peerLoaded.ms), loaded.ms <= 15);
add("memory over bare node", "<= 8 MB", `${loaded.mb.toFixed(1)} MB`, `${peerLoaded.mb.toFixed(1)} MB`, loaded.mb <= 8);

const modules = join(here, "node_modules");
const isPackage = /^node_modules\/[^@.][^/]*$|^node_modules\/@[^/]+\/[^/]+$/;
const packagesOf = (folder) =>
    Object.keys(JSON.parse(readFileSync(join(folder, ".package-lock.json"), "utf8")).packages).filter((name) =>
        isPackage.test(name),
    ).length;
const installed = join(project, "node_modules");
const [ourSize, ourCount] = [size(installed), readdirSync(installed).filter((name) => !name.startsWith(".")).length];
add(
    "installed size; packages",
    "<= 10 MB; 2",
    `${ourSize.toFixed(1)} MB; ${ourCount}`,
    `${size(modules).toFixed(0)} MB; ${packagesOf(modules)}`,
    ourSize <= 10 && ourCount === 2,
);

const [first, peerFirst] = await both("first");
add(
    "first token over TLS, loopback",
    "<= 20 ms, 1 request",
    `${ms(first.ms)}, ${first.requests}`,
    `${ms(peerFirst.ms)}, ${peerFirst.requests}`,
    first.ms <= 20 && first.requests === 1,
);

await withFault({ endpoint: "token", latency_ms: 200 }, async () => {
    const [crowd, peerCrowd] = await both("crowd");
    add(
        "200 callers, cold, 200 ms service",
        "1 request, p99 <= 230 ms",
        `${crowd.requests}, ${ms(crowd.ms)}`,
        `${peerCrowd.requests}, ${ms(peerCrowd.ms)}`,
        crowd.requests === 1 && crowd.ms <= 230,
    );
});

const fault = (given) => async () => {
    if (given.wait) await new Promise((done) => setTimeout(done, given.wait));
    await emulator.addFault(given.fault);
};
for (const [name, must, given, seconds] of [
    ["a call in the refresh window, 1 s service", "<= 1 ms", { endpoint: "token", latency_ms: 1000 }, 250],
    ["a call in the refresh window, 503", "<= 1 ms, served", { endpoint: "token", status: 503 }, 200],
]) {
    const clear = () => emulator.call("DELETE", "/faults");
    await emulator.setTokens({ lifetime_s: 12 });
    const results = [];
    for (let run = 0; run < RUNS; run++) {
        results.push(await once("next", "ours", fault({ wait: 6500, fault: given })));
        await clear();
    }
    const ours = median(results);
    await emulator.setTokens({ lifetime_s: seconds });
    const peer = await once("next", "peer", fault({ fault: given }));
    await clear();
    const told = ({ ms: value, error }) => `${value.toFixed(2)} ms${error ? ", an error" : ", served"}`;
    add(name, must, told(ours), told(peer), ours.ms <= 1 && !ours.error);
}
emulator.stop();

const table = `## Node

Node ${process.version}; the peer is \`@azure/identity\` with \`@azure/postgresql-auth\`, from npm.

| work | must | ours | peer | |
| --- | --- | --- | --- | --- |
${rows.join("\n")}
`;
const results = join(here, "../results.md");
// A part ends at the next heading of the same level.
const parts = readFileSync(results, "utf8").split(/^(?=## )/m);
const others = parts.filter((part) => !part.startsWith("## Node\n")).map((part) => part.trimEnd());
writeFileSync(results, `${[...others, table.trimEnd()].join("\n\n")}\n`);
console.log(table);
