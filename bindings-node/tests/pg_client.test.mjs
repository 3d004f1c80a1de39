// The classes that derive from pg's Client, with the oldest and the newest pg.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { describe, test } from 'node:test'
import newest from 'pg'
import { entraClient, entraConfig, entraTokenProvider, retryingClient, setLogger } from 'pgentra'
import { useEmulator } from './use_emulator.mjs'

const require = createRequire(import.meta.url)
const VERSIONS = { 'pg 8.0.3': require('pg-oldest'), 'pg 8.18': require('pg-8.18'), 'pg, newest': newest }
const ROLE = 'select current_user as role'

let emulator, identity, credential
useEmulator((started) => ({ emulator, identity, credential } = started))

const roleOf = async (client) => (await client.query(ROLE)).rows[0].role
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** The next login is rejected as with an expired token. A token younger than a tenth of its lifetime would not be replaced. */
async function rejectNext(provider = entraTokenProvider(credential)) {
    await emulator.setTokens({ lifetime_s: 20 })
    await provider()
    await pause(2100)
    await emulator.controlPostgres({ refuse_next: 1, refuse_with: 'token_expired' })
}

async function connected(client, work = roleOf) {
    await client.connect()
    try {
        return await work(client)
    } finally {
        await client.end()
    }
}

for (const [version, pg] of Object.entries(VERSIONS)) {
    describe(version, () => {
        test('retryingClient keeps queries that were queued before the rejected login', async () => {
            await rejectNext()
            const client = new (retryingClient(pg.Client))(await entraConfig(emulator.target, credential))
            const events = []
            client.on('end', () => events.push('end')).on('error', (error) => events.push(error.message))
            const connecting = client.connect().then(() => events.push('connect'))
            const roles = await Promise.all([roleOf(client), roleOf(client)])
            await connecting
            assert.deepEqual(roles, [identity.name, identity.name])
            await client.end()
            await pause(50)
            assert.deepEqual(events, ['connect', 'end'])
            assert.equal((await emulator.databaseRequests(identity)).length, 2)
        })

        test('retryingClient ends and rejects queued queries if there is no newer token', async () => {
            await emulator.setTokens({ lifetime_s: 20 })
            const config = await entraConfig(emulator.target, credential)
            await config.password()
            await pause(2100)
            await emulator.addFault({ endpoint: 'app_service', principal: identity.name, status: 500 })
            await emulator.controlPostgres({ refuse_next: 1, refuse_with: 'token_expired' })
            const client = new (retryingClient(pg.Client))(config)
            const ended = new Promise((resolve) => client.on('end', resolve))
            client.on('error', () => {})
            const connecting = assert.rejects(client.connect(), /Role tried/)
            const query = assert.rejects(roleOf(client), /Connection terminated/)
            await Promise.all([connecting, query, ended])
        })

        test('retryingClient that is ended during the renewal ends', async () => {
            await rejectNext()
            await emulator.addFault({ endpoint: 'app_service', principal: identity.name, latency_ms: 700 })
            const client = new (retryingClient(pg.Client))(await entraConfig(emulator.target, credential))
            const connecting = assert.rejects(client.connect())
            await pause(400)
            await Promise.all([client.end(), connecting])
        })

        test('retryingClient in a pool keeps the password function beside a connection string', async () => {
            const { host, port, database } = emulator.postgresReport
            const connectionString = `postgres://${identity.name}@${host}:${port}/${database}`
            const { ssl } = emulator.target
            const password = entraTokenProvider(credential)
            const pool = new pg.Pool({ connectionString, ssl, password, Client: retryingClient(pg.Client) })
            assert.equal(await roleOf(pool), identity.name)
            await pool.end()
        })

        test('entraClient determines user, password and TLS of a pool', async () => {
            const pool = new pg.Pool({ ...emulator.target, Client: entraClient(pg.Client, credential), max: 3 })
            const roles = await Promise.all(Array.from({ length: 9 }, () => roleOf(pool)))
            assert.deepEqual(new Set(roles), new Set([identity.name]))
            await pool.end()
            assert.equal((await emulator.databaseRequests(identity)).length, 1)
        })

        test('entraClient retries with the user that it determined', async () => {
            await rejectNext()
            const { database, ...server } = emulator.target
            process.env.PGDATABASE = database
            const Client = entraClient(pg.Client, credential)
            assert.equal(await connected(new Client(server)), identity.name)
            delete process.env.PGDATABASE
            // Without a database, pg uses the one with the name of the user.
            await assert.rejects(
                connected(new Client(server)),
                new RegExp(`database "${identity.name}" does not exist`),
            )
        })

        test('entraClient reads connection strings and explicit settings', async () => {
            const { host, port, database } = emulator.postgresReport
            const Client = entraClient(pg.Client, credential)
            const url = `postgres://${host}:${port}/${database}`
            assert.equal(
                await connected(new Client({ connectionString: url, ssl: emulator.target.ssl })),
                identity.name,
            )
            process.env.PGUSER = 'no-such-role'
            await assert.rejects(
                connected(new Client(emulator.target)),
                /'no-such-role' \(from the environment variable PGUSER\)/,
            )
            assert.equal(await connected(new Client({ ...emulator.target, user: identity.name })), identity.name)
            const { token } = await emulator.mint(identity.name)
            const login = { ...emulator.target, user: identity.name, password: token }
            assert.equal(await connected(new Client(login)), identity.name)
            const ignoring = entraClient(pg.Client, credential, { ignorePassword: true })
            assert.equal(await connected(new ignoring({ ...login, password: 'placeholder' })), identity.name)
        })

        test('entraClient explains that the server requires TLS', async () => {
            const { host, port, database } = emulator.target
            for (const ssl of [false, 'disable', 'allow']) {
                const client = new (entraClient(pg.Client, credential))({ host, port, database, ssl })
                await assert.rejects(client.connect(), (error) => {
                    assert.equal(error.code, '28000')
                    assert.match(error.message, /no encryption\nRole tried: .*\nToken of: service principal/)
                    assert.match(error.message, /accepts only connections with TLS/)
                    return true
                })
            }
        })

        test('connectionTimeoutMillis limits the wait for a token, and the error names the cause', async () => {
            await emulator.addFault({ endpoint: 'app_service', connection: 'black_hole' })
            const place = { ...emulator.target, connectionTimeoutMillis: 1000 }
            const config = await entraConfig({ ...place, user: identity.name }, credential)
            const { connectionTimeoutMillis: _, ...unlimited } = config
            const started = performance.now()
            for (const settings of [
                config,
                { ...config, Client: retryingClient(pg.Client) },
                { ...unlimited, connectionTimeoutMillis: 1000 },
                { ...place, user: identity.name, password: entraTokenProvider(credential) },
                { ...place, Client: entraClient(pg.Client, credential) },
            ]) {
                const pool = new pg.Pool(settings)
                pool.on('error', () => {})
                await assert.rejects(roleOf(pool), { code: 'timeout', message: /no response from 127.0.0.1/ })
                await pool.end()
            }
            assert.ok(performance.now() - started < 20_000)
        })

        test('entraClient raises errors when it connects, also in a pool', async () => {
            const Client = entraClient(pg.Client, credential)
            const remote = { host: 'db.example', ssl: false }
            await assert.rejects(new Client(remote).connect(), { code: 'insecure_transport' })
            const pool = new pg.Pool({ ...remote, Client })
            await assert.rejects(pool.query(ROLE), { code: 'insecure_transport' })
            await new Promise((resolve) => pool.query(ROLE, (error) => resolve(assert.ok(error))))
            const failing = entraClient(pg.Client, () => Promise.reject(new Error('not signed in')))
            await assert.rejects(new failing(emulator.target).connect(), /not signed in/)
        })
    })
}

test('entraClient rejects a wrong class, credential or option at once', () => {
    for (const Client of [undefined, {}, newest.Pool, credential]) {
        assert.throws(() => entraClient(Client, credential), { code: 'invalid_connection' })
        assert.throws(() => retryingClient(Client), { code: 'invalid_connection' })
    }
    assert.throws(() => entraClient(newest.Client, null), /^PgEntraError: credential is required/)
    assert.throws(() => entraClient(newest.Client, credential, { scoop: 1 }), { code: 'invalid_configuration' })
})

test('pg-native is rejected with a clear error', async () => {
    // Its Client has these methods, and gets its settings as a text.
    class Native {
        connect() {}
        query() {}
        end() {}
        isConnected() {}
    }
    for (const derive of [retryingClient, entraClient])
        assert.throws(() => derive(Native), { code: 'invalid_connection', message: /pg-native is not supported/ })
    const ConnectionParameters = require('pg/lib/connection-parameters')
    const config = await entraConfig({ host: 'localhost', user: 'u' }, credential)
    for (const password of [config.password, entraTokenProvider(credential)]) {
        const parameters = new ConnectionParameters({ ...config, password })
        assert.throws(() => parameters.getLibpqConnectionString(() => {}), {
            code: 'invalid_connection',
            message: /pg-native.*not supported/,
        })
    }
})

test('ignorePassword drops the password, keeps the user, and logs one line', async () => {
    const lines = []
    setLogger((level, message) => lines.push([level, message]))
    try {
        const settings = { ...emulator.target, user: identity.name, password: 'pa55word' }
        for (let i = 0; i < 2; i++) {
            const config = await entraConfig(settings, credential, { ignorePassword: true })
            assert.equal(config.user, identity.name)
            assert.equal(await connected(new newest.Client(config)), identity.name)
        }
        await pause(50)
        // One line per server and process: other tests have dropped a password for the emulator's server before.
        await entraConfig({ ...settings, host: 'ignored.example' }, credential, { ignorePassword: true })
        await entraConfig({ ...settings, host: 'ignored.example' }, credential, { ignorePassword: true })
        await pause(50)
        const dropped = lines.filter(([, message]) => message.includes('ignored.example'))
        assert.deepEqual(
            dropped.map(([level]) => level),
            ['info'],
        )
        assert.doesNotMatch(JSON.stringify(lines), /pa55word/)
        assert.deepEqual(
            lines.filter(([level]) => level === 'warn'),
            [],
        )
    } finally {
        setLogger(null)
    }
    await assert.rejects(entraConfig({}, credential, { ignorePassword: true, requireEntra: true }), {
        code: 'invalid_configuration',
        message: /ignorePassword and requireEntra/,
    })
    await assert.rejects(entraConfig({}, credential, { ignorePassword: 'yes' }), {
        code: 'invalid_configuration',
        message: /`ignorePassword`: expected true or false, got string/,
    })
})
