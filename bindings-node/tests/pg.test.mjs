// pg with the emulator's PostgreSQL server: Client, Pool, cursors, login errors, TLS.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import pg from 'pg'
import Cursor from 'pg-cursor'
import { entraConfig, entraTokenProvider, getEntraTokenPassword, retryingClient } from 'pgentra'
import { ClientSecretCredential, ManagedIdentityCredential } from 'pgentra/identity'
import { useEmulator } from './use_emulator.mjs'

let emulator, identity, credential
useEmulator((started) => ({ emulator, identity, credential } = started))

async function who(client) {
    return (await client.query('select current_user as role')).rows[0].role
}

async function connected(config, work = who, Client = pg.Client) {
    const client = new Client(config)
    await client.connect()
    try {
        return await work(client)
    } finally {
        await client.end()
    }
}

test('entraTokenProvider as the password of a client logs in', async () => {
    const config = { ...emulator.target, user: identity.name, password: entraTokenProvider(credential) }
    assert.equal(await connected(config), identity.name)
})

test('getEntraTokenPassword logs in as a function and as a result', async () => {
    assert.equal(await connected({ ...emulator.target, user: 'app-mi', password: getEntraTokenPassword }), 'app-mi')
    const password = await getEntraTokenPassword(credential)
    assert.equal(await connected({ ...emulator.target, user: identity.name, password }), identity.name)
})

test('entraConfig with a service principal needs its role name', async () => {
    const { name, appid, secret } = await emulator.addPrincipal('service_principal')
    const { tenantId, authorityHost } = emulator
    const application = new ClientSecretCredential(tenantId, appid, secret, { authorityHost })
    assert.equal(await connected(await entraConfig({ ...emulator.target, user: name }, application)), name)
    await assert.rejects(entraConfig(emulator.target, application), (error) => {
        assert.match(error.message, /^Could not determine DB username/)
        return true
    })
})

test('entraConfig in a pool of twenty fetches one token', async () => {
    const pool = new pg.Pool({ ...(await entraConfig(emulator.target, credential)), max: 20 })
    try {
        const roles = await Promise.all(Array.from({ length: 60 }, () => who(pool)))
        assert.deepEqual(new Set(roles), new Set([identity.name]))
        assert.equal((await emulator.databaseRequests(identity)).length, 1)
    } finally {
        await pool.end()
    }
})

test('entraConfig works with pg-cursor', async () => {
    const rows = await connected(await entraConfig(emulator.target, credential), async (client) => {
        const cursor = client.query(new Cursor('select n from generate_series(1, 5) as n'))
        const first = await cursor.read(3)
        await cursor.close()
        return first.map(({ n }) => n)
    })
    assert.deepEqual(rows, [1, 2, 3])
})

test('retryingClient keeps the password function beside a connection string', async () => {
    const { host, port, database } = emulator.postgresReport
    const connectionString = `postgres://${identity.name}@${host}:${port}/${database}`
    const { ssl } = emulator.target
    const asked = []
    const source = entraTokenProvider(credential)
    const password = Object.assign((connection) => asked.push(connection.user) && source(connection), source)
    // In pg the string takes precedence, also for settings that it does not contain, so the function is not called.
    await assert.rejects(connected({ connectionString, ssl, password }))
    assert.deepEqual(asked, [])
    // pgentra keeps the function.
    assert.equal(await connected({ connectionString, ssl, password }, who, retryingClient(pg.Client)), identity.name)
    assert.deepEqual(asked, [identity.name])
    assert.equal(await connected(await entraConfig({ connectionString, ssl }, credential)), identity.name)
})

test('entraConfig with explicit user and password fetches no token', async () => {
    const { token } = await emulator.mint(identity.name)
    const config = await entraConfig({ ...emulator.target, user: identity.name, password: token }, credential)
    assert.equal(config.password, token)
    assert.equal(await connected(config), identity.name)
    assert.equal((await emulator.databaseRequests(identity)).length, 0)
    await assert.rejects(entraConfig({ user: 'a', password: 'b' }, credential, { requireEntra: true }), {
        code: 'invalid_connection',
    })
})

test('entraTokenProvider rejects the account of the operating system as a role', async () => {
    process.env.USER = 'somebody-else'
    const config = { ...emulator.target, password: entraTokenProvider(credential) }
    // pg reads the variable when it is loaded.
    const client = new pg.Client({ ...config, user: 'somebody-else' })
    await assert.rejects(client.connect(), (error) => {
        assert.match(error.message, /PGUSER/)
        assert.match(error.message, /entraConfig/)
        return true
    })
})

test('entraTokenProvider.invalidate after a login error provides a newer token', async () => {
    await emulator.setTokens({ lifetime_s: 20 })
    const password = entraTokenProvider(credential)
    const config = { ...emulator.target, user: identity.name, password }
    assert.equal(await connected(config), identity.name)
    // A token younger than a tenth of its lifetime is not replaced.
    await new Promise((resolve) => setTimeout(resolve, 2100))
    await emulator.controlPostgres({ refuse_next: 1, refuse_with: 'token_expired' })
    await assert.rejects(connected(config), { code: '28000' })
    assert.equal(await password.invalidate(), true)
    assert.equal(await connected(config), identity.name)
    assert.equal((await emulator.databaseRequests(identity)).length, 2)
})

test('retryingClient retries once after a login error, and explains it', async () => {
    await emulator.setTokens({ lifetime_s: 20 })
    const config = await entraConfig(emulator.target, credential)
    assert.equal(await connected(config), identity.name)
    await new Promise((resolve) => setTimeout(resolve, 2100))
    await emulator.controlPostgres({ refuse_next: 1, refuse_with: 'token_expired' })
    const Client = retryingClient(pg.Client)
    assert.equal(await connected(config, who, Client), identity.name)
    const pool = new pg.Pool({ ...config, Client })
    assert.equal(await who(pool), identity.name)
    await pool.end()
    await assert.rejects(connected({ ...config, user: 'no-such-role' }, who, Client), (error) => {
        assert.match(error.message, /pgaadauth_create_principal_with_oid\('no-such-role'/)
        assert.match(error.message, /'no-such-role' \(from the user given to the connection\)/)
        assert.doesNotMatch(error.message, /eyJ/)
        return true
    })
})

test('retryingClient explains the source of the role', async () => {
    await emulator.controlPostgres({ refuse_next: 2, refuse_with: 'role_missing' })
    const Client = retryingClient(pg.Client)
    await assert.rejects(
        connected(await entraConfig(emulator.target, credential), who, Client),
        /from a management-scope token/,
    )
    process.env.PGUSER = identity.name
    await assert.rejects(connected(await entraConfig(emulator.target, credential), who, Client), /variable PGUSER/)
})

test('entraTokenProvider with a slow token source does not delay the event loop', async () => {
    await emulator.addFault({ endpoint: 'app_service', latency_ms: 1000 })
    const longest = async (work) => {
        const delay = monitorEventLoopDelay({ resolution: 1 })
        delay.enable()
        await work()
        delay.disable()
        return delay.max / 1e6
    }
    const added = []
    for (let round = 0; round < 5; round++) {
        // The same second without work: a machine under load causes delays itself.
        const bare = await longest(() => new Promise((resolve) => setTimeout(resolve, 1000)))
        const { appid } = await emulator.addPrincipal()
        const password = entraTokenProvider(new ManagedIdentityCredential(appid))
        const asking = await longest(() => Promise.all(Array.from({ length: 50 }, () => password())))
        added.push(asking - bare)
        if (asking - bare <= 20) return
    }
    assert.fail(`in each of five rounds, by ${added.map(Math.round)} ms`)
})

test('entraConfig sends no byte of a token to a server without TLS', async () => {
    await emulator.controlPostgres({ plaintext: true })
    const { host, port, database } = emulator.postgresReport
    const place = { host, port, database }
    // With TLS configured, pg closes the connection. Without TLS, the function rejects a server that is not local.
    await assert.rejects(connected(await entraConfig({ ...emulator.target, user: 'app-mi' }, credential)))
    const password = entraTokenProvider(credential)
    await assert.rejects(password({ ...place, host: 'db.example', user: 'u', ssl: false }), {
        code: 'insecure_transport',
    })
    await assert.rejects(entraConfig({ host: 'db.example', ssl: false }, credential), { code: 'insecure_transport' })
    assert.equal((await entraConfig({ host: 'db.example', user: 'u' }, credential)).ssl, true)
    assert.equal((await entraConfig({ host: 'localhost', user: 'u' }, credential)).ssl, undefined)
    assert.equal((await emulator.report()).counters.plaintext_password_bytes, 0)
})

test('entraConfig and entraTokenProvider reject wrong arguments', async () => {
    for (const config of [null, 7, true]) await assert.rejects(entraConfig(config), { code: 'invalid_connection' })
    await assert.rejects(entraConfig('postgres://[::1zz/'), (error) => {
        assert.doesNotMatch(error.message, /zz/)
        return error.code === 'invalid_connection'
    })
    for (const bad of [
        7,
        'text',
        true,
        {},
        class A {
            getToken() {}
        },
    ]) {
        assert.throws(() => entraTokenProvider(bad), { code: 'credential_value', message: /^credential is required/ })
    }
    // Settings in place of the credential: their `name` is not a class name, and must not be shown.
    assert.throws(() => entraTokenProvider({ name: 'orders' }), { message: /; got object\b/ })
    for (const options of [
        { scope: 7 },
        { timeout: -1 },
        { mode: 'x' },
        { caFile: () => 1 },
        { scoop: 1 },
        { cache: 'no' },
    ]) {
        assert.throws(() => entraTokenProvider(credential, options), { code: 'invalid_configuration' })
    }
})
