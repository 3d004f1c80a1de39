// Asks @azure/identity, or the engine through its addon, for one token a line of standard input.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../../bindings-node/package.json", import.meta.url));
const peer = require("@azure/identity");
const { Source, sources } = require("./lib/source.js");
const { ClientSecretCredential } = require("./lib/identity.js");

/** Any credential of the engine, by its document. */
function ours(document) {
    const credential = new ClientSecretCredential("t", "c", "s");
    sources.set(credential, new Source(document, {}));
    return credential;
}

/** The peer's credential of the same settings. */
function theirs({ type, ...given }) {
    const common = {
        disableInstanceDiscovery: true,
        additionallyAllowedTenants: given.additionally_allowed_tenants ?? [],
    };
    const { tenant_id: tenantId, client_id: clientId, object_id: objectId, resource_id: resourceId } = given;
    switch (type) {
        case "client_secret":
            return new peer.ClientSecretCredential(tenantId, clientId, given.client_secret, common);
        case "client_assertion":
            return new peer.ClientAssertionCredential(
                tenantId,
                clientId,
                async () => given.get_assertion.token,
                common,
            );
        case "client_certificate": {
            const certificate = {
                certificatePath: given.certificate_path,
                certificatePassword: given.certificate_password,
            };
            const options = { ...common, sendCertificateChain: given.send_certificate_chain };
            return new peer.ClientCertificateCredential(tenantId, clientId, certificate, options);
        }
        case "on_behalf_of":
            return new peer.OnBehalfOfCredential({
                tenantId,
                clientId,
                clientSecret: given.client_secret,
                userAssertionToken: given.user_assertion_token,
                ...common,
            });
        case "azure_pipelines":
            return new peer.AzurePipelinesCredential(
                tenantId,
                clientId,
                given.service_connection_id,
                given.system_access_token,
                common,
            );
        case "environment":
            return new peer.EnvironmentCredential(common);
        case "workload_identity":
            return new peer.WorkloadIdentityCredential(common);
        case "managed_identity":
            return new peer.ManagedIdentityCredential({ clientId, objectId, resourceId });
        case "default":
            return new peer.DefaultAzureCredential(common);
        case "azure_cli":
            return new peer.AzureCliCredential({
                tenantId,
                subscription: given.subscription,
                processTimeoutInMs: 10_000,
            });
        case "azure_developer_cli":
            return new peer.AzureDeveloperCliCredential({ tenantId, processTimeoutInMs: 10_000 });
        case "azure_powershell":
            return new peer.AzurePowerShellCredential({ tenantId, processTimeoutInMs: 10_000 });
    }
    throw new Error(`the worker does not know ${type}`);
}

async function outcome(build, document, { scope, tenant_id: tenantId, claims, enable_cae: enableCae }) {
    try {
        const token = await build(document).getToken(scope, { tenantId, claims, enableCae });
        return token?.token ? "token" : "no token";
    } catch (error) {
        const all = error.errors?.length ? error.errors : [error];
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
    const result = await outcome(job.side === "ours" ? ours : theirs, job.document, job.request);
    process.stdout.write(JSON.stringify({ outcome: result }) + "\n");
}
