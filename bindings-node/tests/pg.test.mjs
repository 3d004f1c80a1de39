// pg through the front door: Client, Pool, cursors, refused logins, outages, TLS.

import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import net from 'node:net'
import pg from 'pg'
import Cursor from 'pg-cursor'
import { entraConfig, entraTokenProvider, getEntraTokenPassword, retryingClient } from 'pgentra'
import { ClientSecretCredential, ManagedIdentityCredential } from 'pgentra/identity'
import { Emulator } from './emulator.mjs'

let emulator, identity, credential
before(async () => {
    emulator = await Emulator.start()
})
after(() => emulator.stop())
beforeEach(async () => {
    await emulator.reset()
    emulator.adopt()
    identity = await emulator.addPrincipal()
    credential = new ManagedIdentityCredential(identity.appid)
})

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

test('a client with entraTokenProvider', async () => {
    const config = { ...emulator.target, user: identity.name, password: entraTokenProvider(credential) }
    assert.equal(await connected(config), identity.name)
})

test('entraConfig works the user out', async () => {
    assert.equal(await connected(await entraConfig(emulator.target, credential)), identity.name)
})

test('nothing but the environment', async () => {
    const config = await entraConfig(emulator.target)
    assert.equal(await connected(config), 'app-mi')
})

test('getEntraTokenPassword, bare and called', async () => {
    assert.equal(await connected({ ...emulator.target, user: 'app-mi', password: getEntraTokenPassword }), 'app-mi')
    const password = await getEntraTokenPassword(credential)
    assert.equal(await connected({ ...emulator.target, user: identity.name, password }), identity.name)
})

test('a service principal named by hand', async () => {
    const { name, appid, secret } = await emulator.addPrincipal('service_principal')
    const { tenantId, authorityHost } = emulator
    const application = new ClientSecretCredential(tenantId, appid, secret, { authorityHost })
    assert.equal(await connected(await entraConfig({ ...emulator.target, user: name }, application)), name)
    await assert.rejects(entraConfig(emulator.target, application), (error) => {
        assert.match(error.message, /^Could not determine DB username/)
        return true
    })
})

test('a pool of twenty asks for one token', async () => {
    const pool = new pg.Pool({ ...(await entraConfig(emulator.target, credential)), max: 20 })
    try {
        const roles = await Promise.all(Array.from({ length: 60 }, () => who(pool)))
        assert.deepEqual(new Set(roles), new Set([identity.name]))
        assert.equal((await emulator.databaseRequests(identity)).length, 1)
    } finally {
        await pool.end()
    }
})

test('pg-cursor', async () => {
    const rows = await connected(await entraConfig(emulator.target, credential), async (client) => {
        const cursor = client.query(new Cursor('select n from generate_series(1, 5) as n'))
        const first = await cursor.read(3)
        await cursor.close()
        return first.map(({ n }) => n)
    })
    assert.deepEqual(rows, [1, 2, 3])
})

test('a connection string', async () => {
    const { host, port, database } = emulator.door
    const text = `postgres://${host}:${port}/${database}?sslmode=verify-full&sslrootcert=${emulator.bundleFile}`
    assert.equal(await connected(await entraConfig(text, credential)), identity.name)
    assert.equal(await connected(await entraConfig({ connectionString: text, max: 1 }, credential)), identity.name)
})

test('explicit user and password: no token is fetched', async () => {
    const { token } = await emulator.mint(identity.name)
    const config = await entraConfig({ ...emulator.target, user: identity.name, password: token }, credential)
    assert.equal(config.password, token)
    assert.equal(await connected(config), identity.name)
    assert.equal((await emulator.databaseRequests(identity)).length, 0)
    await assert.rejects(entraConfig({ user: 'a', password: 'b' }, credential, { requireEntra: true }), {
        code: 'invalid_connection',
    })
})

test('the account of the operating system is not taken for a role', async () => {
    process.env.USER = 'somebody-else'
    const config = { ...emulator.target, password: entraTokenProvider(credential) }
    // pg reads it when it is loaded.
    const client = new pg.Client({ ...config, user: 'somebody-else' })
    await assert.rejects(client.connect(), (error) => {
        assert.match(error.message, /PGUSER/)
        assert.match(error.message, /entraConfig/)
        return true
    })
})

test('a refused login: a bare password function raises the error of the server, invalidate brings a newer token', async () => {
    await emulator.setTokens({ lifetime_s: 20 })
    const password = entraTokenProvider(credential)
    const config = { ...emulator.target, user: identity.name, password }
    assert.equal(await connected(config), identity.name)
    // A token younger than a tenth of its lifetime is not the one to blame.
    await new Promise((resolve) => setTimeout(resolve, 2100))
    await emulator.setDoor({ refuse_next: 1, refuse_with: 'token_expired' })
    await assert.rejects(connected(config), { code: '28000' })
    assert.equal(await password.invalidate(), true)
    assert.equal(await connected(config), identity.name)
    assert.equal((await emulator.databaseRequests(identity)).length, 2)
})

test('a refused login: retryingClient tries once more, and explains', async () => {
    await emulator.setTokens({ lifetime_s: 20 })
    const config = await entraConfig(emulator.target, credential)
    assert.equal(await connected(config), identity.name)
    await new Promise((resolve) => setTimeout(resolve, 2100))
    await emulator.setDoor({ refuse_next: 1, refuse_with: 'token_expired' })
    const Client = retryingClient(pg.Client)
    assert.equal(await connected(config, who, Client), identity.name)
    const pool = new pg.Pool({ ...config, Client })
    assert.equal(await who(pool), identity.name)
    await pool.end()
    await assert.rejects(connected({ ...config, user: 'no-such-role' }, who, Client), (error) => {
        assert.match(error.message, /pgaadauth_create_principal_with_oid\('no-such-role'/)
        assert.doesNotMatch(error.message, /eyJ/)
        return true
    })
})

test('an outage: pools go on with the token they have, without one it is told', async () => {
    const config = await entraConfig(emulator.target, credential)
    await emulator.addFault({ endpoint: 'app_service', status: 503 })
    assert.equal(await connected(config), identity.name)
    const other = await emulator.addPrincipal()
    const started = Date.now()
    const cold = entraTokenProvider(new ManagedIdentityCredential(other.appid, { retryOptions: { maxRetries: 0 } }), {
        timeout: 3000,
    })
    await assert.rejects(connected({ ...emulator.target, user: other.name, password: cold }), (error) => {
        assert.equal(error.constructor.name, 'AuthenticationError')
        assert.match(error.message, /503|no token after a wait/)
        return true
    })
    assert.ok(Date.now() - started < 10_000)
})

test('pools across tokens of 20 s, for 25 s', async () => {
    await emulator.setTokens({ lifetime_s: 20 })
    const pool = new pg.Pool({ ...(await entraConfig(emulator.target, credential)), max: 4, maxUses: 1 })
    const ends = Date.now() + 25_000
    let queries = 0
    while (Date.now() < ends) {
        assert.equal(await who(pool), identity.name)
        queries++
        await new Promise((resolve) => setTimeout(resolve, 50))
    }
    await pool.end()
    const { length } = await emulator.databaseRequests(identity)
    assert.ok(length >= 2 && length <= 5, `${length} requests for ${queries} connections`)
})

test('a slow token service adds no delay to the event loop', async () => {
    await emulator.addFault({ endpoint: 'app_service', latency_ms: 1000 })
    const password = entraTokenProvider(credential)
    const delay = monitorEventLoopDelay({ resolution: 1 })
    const waits = Array.from({ length: 50 }, () => password())
    await new Promise((resolve) => setTimeout(resolve, 100))
    delay.enable()
    await Promise.all(waits)
    delay.disable()
    // The median: a machine under load delays single ticks by itself.
    assert.ok(delay.percentile(50) < 20e6, `${delay.percentile(50) / 1e6} ms`)
})

test('a plaintext server receives no byte of a token', async () => {
    await emulator.setDoor({ plaintext: true })
    const { host, port, database } = emulator.door
    const place = { host, port, database }
    // With TLS asked for, pg itself hangs up; without, the function refuses where the server is not on this machine.
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

test('a connection that ends in the middle', async () => {
    await emulator.setDoor({ drop_next: 1, drop_at: 'password' })
    const config = await entraConfig(emulator.target, credential)
    await assert.rejects(connected(config))
    assert.equal(await connected(config), identity.name)
    const server = net.createServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    await assert.rejects(connected({ ...config, port: server.address().port }))
    server.close()
})

test('bad input', async () => {
    for (const config of [null, 7, true]) await assert.rejects(entraConfig(config), { code: 'invalid_connection' })
    await assert.rejects(entraConfig('postgres://%zz'), (error) => {
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
