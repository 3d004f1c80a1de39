// One measurement in its own process, so that no cache is filled: `measure.mjs MEASURE ours|peer`.
//
// The variable PGENTRA_BENCHMARK contains the addresses and principals of the emulator, PGENTRA_PACKAGE the path of pgentra.
// The result is a line of JSON. run.mjs sets the faults, counts the requests and takes the medians.

import { once } from "node:events";
import { createRequire } from "node:module";
import { performance } from "node:perf_hooks";

const require = createRequire(import.meta.url);
const [measure, who] = process.argv.slice(2);
const at = JSON.parse(process.env.PGENTRA_BENCHMARK ?? "{}");
const CALLERS = 200;
const WARM_CALLS = 20_000;

const bare = process.memoryUsage().rss;
const started = performance.now();
const library = load();
const loaded = { ms: performance.now() - started, mb: (process.memoryUsage().rss - bare) / 2 ** 20 };

function load() {
    if (who === "ours") {
        const { entraTokenProvider, TokenProvider } = require(process.env.PGENTRA_PACKAGE);
        return { entraTokenProvider, TokenProvider, ...require(`${process.env.PGENTRA_PACKAGE}/lib/identity.js`) };
    }
    return { ...require("@azure/postgresql-auth"), ...require("@azure/identity") };
}

/** Returns the password function of an application with a client secret. */
function withSecret() {
    const { authorityHost, tenantId, clientId, clientSecret } = at;
    const options = { authorityHost, disableInstanceDiscovery: true };
    return library.entraTokenProvider(new library.ClientSecretCredential(tenantId, clientId, clientSecret, options));
}

/** The time of a password function without a fetch, in microseconds. */
async function warm(password) {
    await password();
    const rounds = [];
    for (let round = 0; round < 10; round++) {
        const begun = performance.now();
        for (let call = 0; call < WARM_CALLS / 10; call++) await password();
        rounds.push(((performance.now() - begun) * 1e3) / (WARM_CALLS / 10));
    }
    return { us: rounds.sort((one, other) => one - other)[5] };
}

const MEASURES = {
    load: () => loaded,
    warm_secret: () => warm(withSecret()),
    warm_managed: () => warm(library.entraTokenProvider(new library.ManagedIdentityCredential())),
    /** The time of a warm `login()` without its promise. */
    async warm_login() {
        const { TokenClient } = require(`${process.env.PGENTRA_PACKAGE}/lib/provider.js`);
        const client = new TokenClient(new library.ManagedIdentityCredential(), {});
        await client.login();
        const rounds = [];
        for (let round = 0; round < 10; round++) {
            const begun = performance.now();
            for (let call = 0; call < WARM_CALLS / 10; call++) client.tryLogin();
            rounds.push(((performance.now() - begun) * 1e3) / (WARM_CALLS / 10));
        }
        return { us: rounds.sort((one, other) => one - other)[5] };
    },
    async first() {
        const password = withSecret();
        const begun = performance.now();
        await password();
        return { ms: performance.now() - begun };
    },
    async crowd() {
        const password = withSecret();
        const times = await Promise.all(
            Array.from({ length: CALLERS }, async () => {
                const begun = performance.now();
                await password();
                return performance.now() - begun;
            }),
        );
        return { ms: times.sort((one, other) => one - other)[Math.floor((CALLERS * 99) / 100) - 1] };
    },
    /** A call after a line has arrived on standard input; a first call has fetched a token. */
    async next() {
        const password = withSecret();
        await password();
        console.log(JSON.stringify({ ready: true }));
        await once(process.stdin, "data");
        process.stdin.destroy();
        const begun = performance.now();
        const error = await password().then(
            () => null,
            (problem) => String(problem.message).split("\n")[0].slice(0, 80),
        );
        return { ms: performance.now() - begun, error };
    },
};

console.log(JSON.stringify(await MEASURES[measure]()));
