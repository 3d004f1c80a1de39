// The classes of pgentra/identity against the emulator, in a client of the Azure SDK, and in chains with its credentials. A
// class that logs in to PostgreSQL prints a line `works: CLASS in Node`, which tools/matrix.py collects.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import * as azure from '@azure/identity'
import { BlobServiceClient } from '@azure/storage-blob'
import pg from 'pg'
import { AuthenticationError, AuthenticationRequiredError, CredentialUnavailableError, entraConfig } from 'pgentra'
import * as identity from 'pgentra/identity'
import { Emulator, ROOT } from './emulator.mjs'

const CERTIFICATES = join(ROOT, 'tests/vectors/certificates')
const certificatePath = join(CERTIFICATES, 'app.pem')
const STORAGE = 'https://storage.azure.com'
const SECRET = 'secret-of-the-application'
const SERVICE_CONNECTION = '55555555-0000-0000-0000-000000000001'

/** The issuers whose assertions the application trusts. */
const FEDERATED = { issuer: 'https://issuer.example', subject: 'job', audience: 'api://AzureADTokenExchange' }
const PIPELINE = {
    issuer: 'https://vstoken.dev.azure.com/99999999-0000-0000-0000-0000000000d0',
    subject: 'sc://contoso/shop/orders-api',
}

let emulator, application, user, machine, options, folder
before(async () => {
    emulator = await Emulator.start()
    await emulator.call('PUT', '/config', { resources: [STORAGE] })
    const certificates = [readFileSync(certificatePath, 'utf8').replace(/-+BEGIN[^-]*PRIVATE[^]*PRIVATE KEY-+\n/, '')]
    application = await emulator.addPrincipal('service_principal', {
        client_secret: SECRET,
        certificates,
        federated_credentials: [FEDERATED, PIPELINE],
    })
    user = await emulator.addPrincipal('user')
    machine = await emulator.addPrincipal()
    options = { authorityHost: emulator.authorityHost }
    folder = mkdtempSync(join(tmpdir(), 'pgentra-identity-'))
    process.env.PATH = `${await emulator.tools(user)}${delimiter}${process.env.PATH}`
})
after(() => {
    emulator.stop()
    rmSync(folder, { recursive: true })
})
beforeEach(() => emulator.adopt())

/** Returns an assertion of the application, from an issuer that it trusts. */
const assertion = async (changes) =>
    (await emulator.mint(application.name, { federated: { ...FEDERATED, ...changes } })).token

/** By class and variant: creates a credential for tokens of an audience. `whoIs` returns the principal. */
const CREDENTIALS = {
    ClientSecretCredential: () =>
        new identity.ClientSecretCredential(emulator.tenantId, application.appid, SECRET, options),
    'ClientCertificateCredential, a path': () =>
        new identity.ClientCertificateCredential(emulator.tenantId, application.appid, certificatePath, options),
    'ClientCertificateCredential, an object': () =>
        new identity.ClientCertificateCredential(
            emulator.tenantId,
            application.appid,
            { certificatePath },
            { ...options, sendCertificateChain: true },
        ),
    'ClientCertificateCredential, PEM text': () =>
        new identity.ClientCertificateCredential(
            emulator.tenantId,
            application.appid,
            { certificate: readFileSync(certificatePath, 'utf8') },
            options,
        ),
    'ClientCertificateCredential, the bytes of a PEM file': () =>
        new identity.ClientCertificateCredential(
            emulator.tenantId,
            application.appid,
            { certificate: readFileSync(certificatePath) },
            options,
        ),
    'ClientCertificateCredential, the bytes of a PFX file': () =>
        new identity.ClientCertificateCredential(
            emulator.tenantId,
            application.appid,
            { certificate: readFileSync(join(CERTIFICATES, 'app.pfx')), certificatePassword: PFX_PASSWORD },
            options,
        ),
    'ClientAssertionCredential, a function': () =>
        new identity.ClientAssertionCredential(emulator.tenantId, application.appid, assertion, options),
    'ClientAssertionCredential, a credential': () =>
        new identity.ClientAssertionCredential(
            emulator.tenantId,
            application.appid,
            { getToken: async () => ({ token: await assertion(), expiresOnTimestamp: Date.now() + 600e3 }) },
            options,
        ),
    'OnBehalfOfCredential, a secret': async () => onBehalfOf({ clientSecret: SECRET }),
    'OnBehalfOfCredential, a certificate': async () => onBehalfOf({ certificatePath }),
    'OnBehalfOfCredential, an assertion': async () => onBehalfOf({ getAssertion: assertion }),
    'EnvironmentCredential, a secret': () => {
        asApplication()
        process.env.AZURE_CLIENT_SECRET = SECRET
        return new identity.EnvironmentCredential()
    },
    'EnvironmentCredential, a certificate': () => {
        asApplication()
        process.env.AZURE_CLIENT_CERTIFICATE_PATH = certificatePath
        return new identity.EnvironmentCredential()
    },
    WorkloadIdentityCredential: async () => {
        asApplication()
        const tokenFilePath = join(folder, 'azure-identity-token')
        writeFileSync(tokenFilePath, await assertion())
        return new identity.WorkloadIdentityCredential({ tokenFilePath })
    },
    AzurePipelinesCredential: () => {
        const { SYSTEM_OIDCREQUESTURI, SYSTEM_ACCESSTOKEN } = emulator.hosts.azure_pipelines
        process.env.SYSTEM_OIDCREQUESTURI = SYSTEM_OIDCREQUESTURI
        return new identity.AzurePipelinesCredential(
            emulator.tenantId,
            application.appid,
            SERVICE_CONNECTION,
            SYSTEM_ACCESSTOKEN,
            options,
        )
    },
    AzureCliCredential: () => new identity.AzureCliCredential(),
    AzureDeveloperCliCredential: () => new identity.AzureDeveloperCliCredential(),
    AzurePowerShellCredential: () => new identity.AzurePowerShellCredential(),
    ManagedIdentityCredential: () => new identity.ManagedIdentityCredential(machine.appid),
    DefaultAzureCredential: () => new identity.DefaultAzureCredential({ managedIdentityClientId: machine.appid }),
    ChainedTokenCredential: () =>
        new identity.ChainedTokenCredential(
            new identity.WorkloadIdentityCredential(),
            new identity.AzurePipelinesCredential('t', 'c', 's', 'x'),
            new identity.ManagedIdentityCredential(machine.appid),
        ),
    StaticTokenCredential: async (audience) =>
        new identity.StaticTokenCredential((await emulator.mint(machine.name, { audience })).token),
}
const PFX_PASSWORD = 'canary-password'

const classOf = (name) => name.split(',')[0]
const USERS = /^(OnBehalfOf|AzureCli|AzureDeveloperCli|AzurePowerShell)/
const MACHINES = /^(Managed|Default|Chained|Static)/
const whoIs = (name) => (USERS.test(name) ? user : MACHINES.test(name) ? machine : application)

async function onBehalfOf(proof) {
    const { tenantId } = emulator
    const audience = `api://${application.appid}`
    const userAssertionToken = (await emulator.mint(user.name, { audience })).token
    return new identity.OnBehalfOfCredential({
        tenantId,
        clientId: application.appid,
        userAssertionToken,
        ...proof,
        ...options,
    })
}

function asApplication() {
    process.env.AZURE_AUTHORITY_HOST = emulator.authorityHost
    process.env.AZURE_TENANT_ID = emulator.tenantId
    process.env.AZURE_CLIENT_ID = application.appid
}

const claimsOf = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString())

describe('credential logs in to PostgreSQL', () => {
    for (const [name, make] of Object.entries(CREDENTIALS)) {
        test(name, async () => {
            const who = whoIs(name)
            const credential = await make('database')
            assert.equal(credential.constructor, identity[classOf(name)])
            const client = new pg.Client(await entraConfig({ ...emulator.target, user: who.name }, credential))
            await client.connect()
            assert.deepEqual((await client.query('select current_user::text as role')).rows, [{ role: who.name }])
            await client.end()
            console.log(`works: ${classOf(name)} in Node`)
        })
    }

    test('pgentra/identity has no class without a test', () => {
        const classes = Object.keys(identity).filter((name) => /Credential$/.test(name))
        assert.deepEqual([...new Set(Object.keys(CREDENTIALS).map(classOf))].sort(), classes.sort())
    })
})

describe('credential in a client of @azure/storage-blob', () => {
    const seen = []
    let stub
    before(async () => {
        // The service lists one container if the request has a token for it.
        stub = createServer((request, response) => {
            const [, token] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? []
            const { aud, oid, exp } = token ? claimsOf(token) : {}
            seen.push(oid)
            const isGood = aud === STORAGE && exp > Date.now() / 1000
            response.writeHead(isGood ? 200 : 403, { 'content-type': 'application/xml' })
            response.end(
                isGood
                    ? '<?xml version="1.0"?><EnumerationResults><Containers><Container><Name>one</Name><Properties>' +
                          '<Last-Modified>Sun, 22 Nov 2026 00:00:00 GMT</Last-Modified><Etag>e</Etag></Properties>' +
                          '</Container></Containers><NextMarker/></EnumerationResults>'
                    : '<?xml version="1.0"?><Error><Code>AuthenticationFailed</Code></Error>',
            )
        }).listen(0, '127.0.0.1')
        await once(stub, 'listening')
    })
    after(() => stub.close())

    /** The SDK sends tokens over TLS only, so its last step is redirected to the stub. */
    const httpClient = {
        async sendRequest(request) {
            const url = request.url.replace(/^https:\/\/[^/]+/, `http://127.0.0.1:${stub.address().port}`)
            const answer = await fetch(url, { method: request.method, headers: request.headers.rawHeaders() })
            const headers = request.headers.clone()
            for (const { name } of headers.headersArray()) headers.remove(name)
            answer.headers.forEach((value, name) => headers.set(name, value))
            return { request, status: answer.status, headers, bodyAsText: await answer.text() }
        },
    }

    for (const [name, make] of Object.entries(CREDENTIALS)) {
        test(name, async () => {
            seen.length = 0
            const service = new BlobServiceClient('https://account.blob.example', await make(STORAGE), { httpClient })
            for (let round = 0; round < 2; round++) {
                const found = []
                for await (const container of service.listContainers()) found.push(container.name)
                assert.deepEqual(found, ['one'])
            }
            assert.deepEqual(seen, Array(2).fill(whoIs(name).oid))
        })
    }
})

describe('chain with credentials of @azure/identity', () => {
    const good = () => new identity.ManagedIdentityCredential(machine.appid)
    const failing = () => new identity.ClientSecretCredential(emulator.tenantId, application.appid, 'wrong', options)
    const theirs = {
        good: () => ({ getToken: async () => ({ token: 'theirs', expiresOnTimestamp: Date.now() + 3600e3 }) }),
        unavailable: () => new azure.EnvironmentCredential(),
        failing: () => ({
            async getToken() {
                const text = 'AADSTS7000215: Invalid client secret provided.'
                throw new azure.AuthenticationError(401, { error: 'invalid_client', error_description: text })
            },
        }),
    }
    const SCOPE = `${STORAGE}/.default`

    test('ChainedTokenCredential of the Azure SDK continues after each unavailable credential of pgentra', async () => {
        const unavailable = [
            new identity.EnvironmentCredential(),
            new identity.WorkloadIdentityCredential(),
            new identity.AzurePipelinesCredential('t', 'c', 's', 'x'),
            new identity.ChainedTokenCredential(new identity.EnvironmentCredential()),
        ]
        const chain = new azure.ChainedTokenCredential(...unavailable, theirs.good())
        assert.equal((await chain.getToken(SCOPE)).token, 'theirs')
    })

    test('ChainedTokenCredential of the Azure SDK stops at a failing credential of pgentra', async () => {
        const chain = new azure.ChainedTokenCredential(failing(), theirs.good())
        await assert.rejects(chain.getToken(SCOPE), { name: 'AuthenticationError' })
    })

    test('ChainedTokenCredential continues after an unavailable credential of the Azure SDK', async () => {
        const chain = new identity.ChainedTokenCredential(theirs.unavailable(), good())
        assert.equal(claimsOf((await chain.getToken(SCOPE)).token).oid, machine.oid)
    })

    test('ChainedTokenCredential stops at a failing credential and lists each attempt', async () => {
        const chain = new identity.ChainedTokenCredential(theirs.unavailable(), failing(), good())
        await assert.rejects(chain.getToken(SCOPE), (error) => {
            assert.equal(error.name, 'AggregateAuthenticationError')
            assert.deepEqual(
                error.errors.map(({ name, aadsts }) => [name, aadsts]),
                [
                    ['CredentialUnavailableError', undefined],
                    ['AuthenticationError', 7000215],
                ],
            )
            return true
        })
    })

    test('ChainedTokenCredential stops at a failing credential of the Azure SDK', async () => {
        const chain = new identity.ChainedTokenCredential(theirs.failing(), good())
        await assert.rejects(chain.getToken(SCOPE), (error) => {
            assert.ok(error instanceof AuthenticationError)
            assert.equal(error.aadsts, 7000215)
            assert.equal(error.cause.name, 'AuthenticationError')
            return true
        })
    })

    test('ChainedTokenCredential without an available member lists each attempt', async () => {
        const chain = new identity.ChainedTokenCredential(theirs.unavailable(), new identity.EnvironmentCredential())
        await assert.rejects(chain.getToken(SCOPE), (error) => {
            assert.ok(error instanceof CredentialUnavailableError)
            assert.deepEqual(
                error.errors.map(({ name }) => name),
                Array(2).fill('CredentialUnavailableError'),
            )
            return true
        })
    })

    test('ClientAssertionCredential with a chain works in a chain', async () => {
        const inner = { getToken: async () => ({ token: await assertion(), expiresOnTimestamp: Date.now() + 600e3 }) }
        const asserted = new identity.ClientAssertionCredential(
            emulator.tenantId,
            application.appid,
            new identity.ChainedTokenCredential(theirs.unavailable(), inner),
            options,
        )
        const chain = new identity.ChainedTokenCredential(theirs.unavailable(), asserted)
        assert.equal(claimsOf((await chain.getToken(SCOPE)).token).oid, application.oid)
    })
})

describe('ClientAssertionCredential with a federated token', () => {
    for (const [what, changes, aadsts] of [
        ['another issuer', { issuer: 'https://another.example' }, 700211],
        ['another subject', { subject: 'another' }, 700213],
        ['another audience', { audience: 'api://another' }, 700212],
    ]) {
        test(`federated token with ${what} is rejected`, async () => {
            const credential = new identity.ClientAssertionCredential(
                emulator.tenantId,
                application.appid,
                () => assertion(changes),
                options,
            )
            await assert.rejects(credential.getToken(`${STORAGE}/.default`), { aadsts })
        })
    }
})

describe('OnBehalfOfCredential created for each call', () => {
    const inAnHour = () => Date.now() + 3600e3
    const PROOFS = {
        'a secret': { clientSecret: SECRET },
        'a certificate': { certificatePath },
        'a function': { getAssertion: () => assertion() },
        'a credential': {
            getAssertion: { getToken: async () => ({ token: await assertion(), expiresOnTimestamp: inAnHour() }) },
        },
    }
    const exchanges = async () => {
        const { requests } = await emulator.call('GET', '/requests')
        return requests.filter(({ endpoint }) => endpoint === 'token').length
    }
    const getToken = (userAssertionToken, proof, more) =>
        new identity.OnBehalfOfCredential({
            tenantId: emulator.tenantId,
            clientId: application.appid,
            userAssertionToken,
            ...proof,
            ...options,
            ...more,
        }).getToken(`${STORAGE}/.default`)
    const sentBy = async (sender) =>
        (await emulator.mint(sender.name, { audience: `api://${application.appid}` })).token

    for (const [name, proof] of Object.entries(PROOFS)) {
        test(`OnBehalfOfCredential with ${name} has one token per user`, async () => {
            const users = []
            while (users.length < 10) users.push(await emulator.addPrincipal('user'))
            const sent = await Promise.all(users.map(sentBy))
            await emulator.call('DELETE', '/requests')
            const found = await Promise.all([...sent, ...sent, ...sent].map((token) => getToken(token, proof)))
            const oids = users.map(({ oid }) => oid)
            assert.deepEqual(
                found.map(({ token }) => claimsOf(token).oid),
                [...oids, ...oids, ...oids],
            )
            assert.equal(await exchanges(), users.length)
        })
    }

    test('OnBehalfOfCredential with a function reuses connections', async () => {
        const { port, pathname } = new URL(emulator.authorityHost)
        let connections = 0
        const between = createTcpServer((socket) => {
            connections++
            const onward = connect(Number(port), 'localhost')
            for (const [one, other] of [
                [socket, onward],
                [onward, socket],
            ]) {
                one.pipe(other)
                one.on('error', () => other.destroy())
            }
        }).listen(0, 'localhost')
        await once(between, 'listening')
        try {
            const authorityHost = `https://localhost:${between.address().port}${pathname}`
            for (let i = 0; i < 30; i++) {
                await getToken(await sentBy(user), PROOFS['a function'], { authorityHost })
            }
            assert.equal(connections, 1)
        } finally {
            between.close()
        }
    })
})

describe('transport options', () => {
    const SCOPE = `${STORAGE}/.default`
    const secret = (more) => new identity.ClientSecretCredential('tenant', 'client', SECRET, more)
    let proxy, asked
    before(async () => {
        // The proxy rejects all requests: the engine uses no proxy for local addresses.
        proxy = createServer().on('connect', ({ url, headers }, socket) => {
            asked.push([url, headers['proxy-authorization']])
            socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n')
        })
        await once(proxy.listen(0, '127.0.0.1'), 'listening')
    })
    after(() => proxy.close())
    beforeEach(() => {
        asked = []
        delete process.env.SSL_CERT_FILE
        delete process.env.NODE_EXTRA_CA_CERTS
    })
    const away = () => ({
        authorityHost: 'https://login.example',
        retryOptions: { maxRetries: 0 },
        proxyOptions: { host: '127.0.0.1', port: proxy.address().port, username: 'us er', password: 'p@ss' },
    })
    const PROXIED = {
        'a credential': () => secret(away()),
        'a chain of such': () => new identity.ChainedTokenCredential(new azure.EnvironmentCredential(), secret(away())),
        'an assertion by such': () => new identity.ClientAssertionCredential('tenant', 'client', secret(away())),
    }

    for (const [name, make] of Object.entries(PROXIED)) {
        test(`proxyOptions: ${name}`, async () => {
            await assert.rejects(make().getToken(SCOPE))
            const basic = `Basic ${Buffer.from('us er:p@ss').toString('base64')}`
            // A rejected tunnel is requested once more, for its status.
            assert.deepEqual(asked, [
                ['login.example:443', basic],
                ['login.example:443', basic],
            ])
        })
    }

    test('caFile applies to a credential and to a chain', async () => {
        const { appid } = application
        const known = (more) =>
            new identity.ClientSecretCredential(emulator.tenantId, appid, SECRET, { ...options, ...more })
        await assert.rejects(known().getToken(SCOPE), { code: 'untrusted_certificate' })
        const trusting = () => known({ caFile: emulator.bundleFile })
        for (const credential of [trusting(), new identity.ChainedTokenCredential(trusting())]) {
            assert.equal(claimsOf((await credential.getToken(SCOPE)).token).oid, application.oid)
        }
    })

    test('ChainedTokenCredential rejects members with different proxies', () => {
        const other = { ...away(), proxyOptions: { host: 'another', port: 3128 } }
        const chain = (...members) => new identity.ChainedTokenCredential(...members)
        assert.ok(chain(secret(away()), secret(), () => 'token', chain(secret(away()))))
        for (const differs of [secret(other), secret({ ...away(), caFile: '/ca.pem' }), chain(secret(other))]) {
            assert.throws(() => chain(secret(away()), differs), {
                code: 'invalid_configuration',
                message: /^the members use different proxies or different files of certificate authorities/,
            })
        }
    })
})

describe('getToken options', () => {
    test('getToken with another tenant works if the tenant is allowed', async () => {
        const { tenantId } = emulator
        const strict = CREDENTIALS.ClientSecretCredential()
        await assert.rejects(strict.getToken('s/.default', { tenantId: '12121212-0000-0000-0000-000000000000' }), {
            code: 'authentication_failed',
        })
        const open = new identity.ClientSecretCredential(tenantId, application.appid, SECRET, {
            ...options,
            additionallyAllowedTenants: ['*'],
        })
        assert.ok(await open.getToken(`${STORAGE}/.default`, { tenantId }))
    })

    test('getToken with claims or enableCae uses a separate cache', async () => {
        const credential = CREDENTIALS.ClientSecretCredential()
        const ask = async (given) => (await credential.getToken(`${STORAGE}/.default`, given)).token
        const claims = JSON.stringify({ access_token: { nbf: { essential: true, value: '1' } } })
        const tokens = [await ask(), await ask({ enableCae: true }), await ask({ claims }), await ask()]
        assert.equal(tokens[0], tokens[3])
        assert.equal(new Set(tokens).size, 3)
    })

    test('getToken rejects with AuthenticationRequiredError if the user must act', async () => {
        const careful = await emulator.addPrincipal('user', { requires_mfa: true })
        const { token } = await emulator.mint(careful.name, { audience: `api://${application.appid}` })
        const credential = new identity.OnBehalfOfCredential({
            tenantId: emulator.tenantId,
            clientId: application.appid,
            userAssertionToken: token,
            clientSecret: SECRET,
            ...options,
        })
        await assert.rejects(credential.getToken(`${STORAGE}/.default`), (error) => {
            assert.ok(error instanceof AuthenticationRequiredError)
            assert.equal(error.aadsts, 50076)
            assert.equal(typeof JSON.parse(error.detail.claims), 'object')
            assert.doesNotMatch(`${error.stack}${JSON.stringify(error)}`, /eyJ|secret-of/)
            return true
        })
    })

    test('ClientAssertionCredential with a function without a result rejects', async () => {
        for (const wrong of [() => undefined, () => '', async () => Promise.reject(new Error('canary'))]) {
            const credential = new identity.ClientAssertionCredential(emulator.tenantId, 'c', wrong, options)
            await assert.rejects(credential.getToken('s/.default'), (error) => {
                assert.ok(error instanceof AuthenticationError || error.code === 'credential_value', error.name)
                return true
            })
        }
    })

    test('credential rejects values that JSON would drop or change, by name', () => {
        for (const value of [NaN, 7n, Symbol('canary'), () => 'canary']) {
            for (const make of [
                () => new identity.AzureCliCredential({ processTimeoutInMs: value }),
                () => new identity.ClientSecretCredential('t', 'c', 's', { authorityHost: value }),
                () => new identity.ClientSecretCredential('t', 'c', 's', { retryOptions: { maxRetries: value } }),
            ]) {
                assert.throws(make, {
                    code: 'invalid_configuration',
                    message: /^option `[\w.]+`: expected a plain value/,
                })
            }
        }
    })

    test('credential shows no secret in its texts', () => {
        for (const make of [CREDENTIALS.ClientSecretCredential, CREDENTIALS['ClientCertificateCredential, PEM text']]) {
            const shown = JSON.stringify(make()) + String(make())
            assert.doesNotMatch(shown, /secret-of|PRIVATE/)
        }
    })
})
