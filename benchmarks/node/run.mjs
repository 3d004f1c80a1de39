// Measures pgentra for Node against `@azure/identity` with `@azure/postgresql-auth`, side by side in one run.
//
//   node run.mjs TARBALLS TABLE    the folder with the tarballs of `make npm`, which are installed as users install them,
//                                  and the file for the table: JSON, which `../report.py add` takes
//
// Every figure is the median of 5 processes, alternating between pgentra and the peer, on one emulator. Targets that are missed
// are marked.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Emulator } from "../../bindings-node/tests/emulator.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const [tarballs, tableFile] = process.argv.slice(2).map((path) => resolve(path));
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
/** Adds a row. `results` are what its texts were made from: ours, and the peer's if there is one. */
function add(work, must, ours, peer, ok, results = [], chart = "") {
    const figures = Object.fromEntries(results.map((result, index) => [index ? "peer" : "ours", figuresOf(result)]));
    rows.push({ work, must, ours, peer, ok, figures, chart });
    console.log(`[pgentra] ${work}: ${ours} (must be ${must}; peer ${peer})${ok ? "" : "  SHORT"}`);
}
/** The numbers of a result; `served` is 1 if no call failed. */
function figuresOf(result) {
    const numbers = Object.entries(result).filter(([, value]) => typeof value === "number");
    return { ...Object.fromEntries(numbers), served: result.error ? 0 : 1 };
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
add("warm `login()`, its synchronous core", "<= 2 us", us(login.us), "none", login.us <= 2, [login]);
for (const [name, ours, peer, chart] of [
    ["managed identity", managed, peerManaged, "warm"],
    ["secret", secret, peerSecret, ""],
]) {
    add(`warm password function, ${name}`, "<= 3 us", us(ours.us), us(peer.us), ours.us <= 3, [ours, peer], chart);
}

const [loaded, peerLoaded] = await both("load");
const [loads, megabytes] = [[loaded, peerLoaded], (one) => `${one.mb.toFixed(1)} MB`];
add("import", "<= 15 ms", ms(loaded.ms), ms(peerLoaded.ms), loaded.ms <= 15, loads);
add("memory over bare node", "<= 8 MB", megabytes(loaded), megabytes(peerLoaded), loaded.mb <= 8, loads, "memory");

const modules = join(here, "node_modules");
const isPackage = /^node_modules\/[^@.][^/]*$|^node_modules\/@[^/]+\/[^/]+$/;
const packagesOf = (folder) =>
    Object.keys(JSON.parse(readFileSync(join(folder, ".package-lock.json"), "utf8")).packages).filter((name) =>
        isPackage.test(name),
    ).length;
const installed = join(project, "node_modules");
const [peerSize, peerCount] = [size(modules), packagesOf(modules)];
const [ourSize, ourCount] = [size(installed), readdirSync(installed).filter((name) => !name.startsWith(".")).length];
add(
    "installed size; packages",
    "<= 10 MB; 2",
    `${ourSize.toFixed(1)} MB; ${ourCount}`,
    `${peerSize.toFixed(0)} MB; ${peerCount}`,
    ourSize <= 10 && ourCount === 2,
    [
        { mb: ourSize, packages: ourCount },
        { mb: peerSize, packages: peerCount },
    ],
    "size",
);

const [first, peerFirst] = await both("first");
add(
    "first token over TLS, loopback",
    "<= 20 ms, 1 request",
    `${ms(first.ms)}, ${first.requests}`,
    `${ms(peerFirst.ms)}, ${peerFirst.requests}`,
    first.ms <= 20 && first.requests === 1,
    [first, peerFirst],
);

await withFault({ endpoint: "token", latency_ms: 200 }, async () => {
    const [crowd, peerCrowd] = await both("crowd");
    add(
        "200 callers, cold, 200 ms service",
        "1 request, p99 <= 230 ms",
        `${crowd.requests}, ${ms(crowd.ms)}`,
        `${peerCrowd.requests}, ${ms(peerCrowd.ms)}`,
        crowd.requests === 1 && crowd.ms <= 230,
        [crowd, peerCrowd],
        "herd",
    );
});

const fault = (given) => async () => {
    if (given.wait) await new Promise((done) => setTimeout(done, given.wait));
    await emulator.addFault(given.fault);
};
for (const [name, must, given, seconds, chart] of [
    ["a call in the refresh window, 1 s service", "<= 1 ms", { endpoint: "token", latency_ms: 1000 }, 250, "slow"],
    ["a call in the refresh window, 503", "<= 1 ms, served", { endpoint: "token", status: 503 }, 200, "outage"],
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
    add(name, must, told(ours), told(peer), ours.ms <= 1 && !ours.error, [ours, peer], chart);
}
emulator.stop();

const note = `Node ${process.version}; the peer is \`@azure/identity\` with \`@azure/postgresql-auth\`, from npm.`;
writeFileSync(tableFile, JSON.stringify({ title: "Node", note, rows }));
