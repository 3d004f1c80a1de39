// pg through the front door: Client, Pool, cursors, refused logins, outages, TLS.

import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { monitorEventLoopDelay } from 'node:perf_hooks'
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

test('a connection string beside a password function', async () => {
    const { host, port, database } = emulator.postgresReport
    const connectionString = `postgres://${identity.name}@${host}:${port}/${database}`
    const { ssl } = emulator.target
    const asked = []
    const source = entraTokenProvider(credential)
    const password = Object.assign((connection) => asked.push(connection.user) && source(connection), source)
    // The trap: pg lets the string win, also where it says nothing, so the function is never asked.
    await assert.rejects(connected({ connectionString, ssl, password }))
    assert.deepEqual(asked, [])
    // Handled where pgentra is in between.
    assert.equal(await connected({ connectionString, ssl, password }, who, retryingClient(pg.Client)), identity.name)
    assert.deepEqual(asked, [identity.name])
    assert.equal(await connected(await entraConfig({ connectionString, ssl }, credential)), identity.name)
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
    await emulator.controlPostgres({ refuse_next: 1, refuse_with: 'token_expired' })
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

test('a refused login says where the role came from', async () => {
    await emulator.controlPostgres({ refuse_next: 2, refuse_with: 'role_missing' })
    const Client = retryingClient(pg.Client)
    await assert.rejects(
        connected(await entraConfig(emulator.target, credential), who, Client),
        /from a management-scope token/,
    )
    process.env.PGUSER = identity.name
    await assert.rejects(connected(await entraConfig(emulator.target, credential), who, Client), /variable PGUSER/)
})

test('a slow token service adds no delay to the event loop', async () => {
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
        // The same second with nothing to do: a machine under load delays by itself, now and then.
        const bare = await longest(() => new Promise((resolve) => setTimeout(resolve, 1000)))
        const { appid } = await emulator.addPrincipal()
        const password = entraTokenProvider(new ManagedIdentityCredential(appid))
        const asking = await longest(() => Promise.all(Array.from({ length: 50 }, () => password())))
        added.push(asking - bare)
        if (asking - bare <= 20) return
    }
    assert.fail(`in each of five rounds, by ${added.map(Math.round)} ms`)
})

test('a plaintext server receives no byte of a token', async () => {
    await emulator.controlPostgres({ plaintext: true })
    const { host, port, database } = emulator.postgresReport
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

test('bad input', async () => {
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
    // A config in the credential's place: its `name` is no class, and perhaps nobody else's business.
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
