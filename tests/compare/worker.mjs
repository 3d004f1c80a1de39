// Asks @azure/identity, or pgentra/identity with the same arguments, for one token a line of standard input.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../../bindings-node/package.json", import.meta.url));
const MODULES = { peer: require("@azure/identity"), ours: require("pgentra/identity") };

/** What is no option. */
const POSITIONAL = {
    AzurePipelinesCredential: ["tenantId", "clientId", "serviceConnectionId", "systemAccessToken"],
    ClientAssertionCredential: ["tenantId", "clientId", "getAssertion"],
    ClientCertificateCredential: ["tenantId", "clientId", "certificate"],
    ClientSecretCredential: ["tenantId", "clientId", "clientSecret"],
};

const camel = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());

/** A scenario's credential, by the class of that name in one of the modules. */
function credential(module, { class: name, ...given }) {
    if (given.credentials) {
        return new module[name](...given.credentials.map((member) => credential(module, member)));
    }
    const options = { disableInstanceDiscovery: true };
    for (const [key, value] of Object.entries(given)) options[camel(key)] = value;
    const { getAssertion: assertion, processTimeout, certificatePath, certificatePassword } = options;
    if (assertion) options.getAssertion = async () => assertion;
    if (processTimeout) {
        delete options.processTimeout;
        options.processTimeoutInMs = processTimeout * 1000;
    }
    if (name === "ClientCertificateCredential") {
        delete options.certificatePath;
        delete options.certificatePassword;
        options.certificate = { certificatePath, certificatePassword };
    }
    const before = (POSITIONAL[name] ?? []).map((key) => {
        const value = options[key];
        delete options[key];
        return value;
    });
    return new module[name](...before, options);
}

async function outcome(module, given, { scope, tenant_id: tenantId, claims, enable_cae: enableCae }) {
    try {
        const token = await credential(module, given).getToken(scope, { tenantId, claims, enableCae });
        return token?.token ? "token" : "no token";
    } catch (error) {
        const all = error.name === "AggregateAuthenticationError" ? error.errors : [error];
        if (all.every(({ name }) => name === "CredentialUnavailableError")) return "unavailable";
        const usual = [
            "PgEntraError",
            "AggregateAuthenticationError",
            "AuthenticationError",
            "AuthenticationRequiredError",
        ];
        return usual.includes(error.name) ? "failed" : `failed (${error.name})`;
    }
}

const usual = { ...process.env };
for await (const line of createInterface({ input: process.stdin })) {
    const job = JSON.parse(line);
    for (const name of Object.keys(process.env)) delete process.env[name];
    Object.assign(process.env, usual, job.environment);
    const result = await outcome(MODULES[job.side], job.credential, job.request);
    process.stdout.write(JSON.stringify({ outcome: result }) + "\n");
}
