// The login of postgres.js, which entraPostgresConfig does itself: retry, explanation, cancellation, time limits.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import net from 'node:net'
import { describe, test } from 'node:test'
import newest from 'postgres'
import { entraPostgresConfig, TokenProvider } from 'pgentra'
import { useEmulator } from './use_emulator.mjs'

const require = createRequire(import.meta.url)
const VERSIONS = { 'postgres.js 3.1.0': require('postgres-oldest'), 'postgres.js, newest': newest }

let emulator, identity, credential
useEmulator((started) => ({ emulator, identity, credential } = started))

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** Runs `work` with a client of these options. */
async function using(postgres, settings, work, more = {}) {
    const sql = postgres({
        ...(await entraPostgresConfig({ ...emulator.target, ...settings }, credential)),
        max: 1,
        ...more,
    })
    try {
        return await work(sql)
    } finally {
        await sql.end({ timeout: 1 })
    }
}
const roleOf = async (sql) => (await sql`select current_user as role`)[0].role

/** The next login is rejected as with an expired token. A token younger than a tenth of its lifetime would not be replaced. */
async function rejectNext() {
    await emulator.setTokens({ lifetime_s: 20 })
    await new TokenProvider(credential, { host: emulator.target.host }).get()
    await pause(2100)
    await emulator.controlPostgres({ refuse_next: 1, refuse_with: 'token_expired' })
}

for (const [version, postgres] of Object.entries(VERSIONS)) {
    describe(version, () => {
        test('entraPostgresConfig retries a rejected login once with a newer token', async () => {
            await rejectNext()
            await using(postgres, {}, async (sql) => {
                const roles = await Promise.all([roleOf(sql), roleOf(sql)])
                assert.deepEqual(roles, [identity.name, identity.name])
            })
            assert.equal((await emulator.databaseRequests(identity)).length, 2)
        })

        test('entraPostgresConfig explains a rejected login', async () => {
            await using(postgres, { user: 'no-such-role' }, (sql) =>
                assert.rejects(roleOf(sql), (error) => {
                    assert.equal(error.name, 'PostgresError')
                    assert.equal(error.code, '28000')
                    assert.match(error.message, /^role "no-such-role" does not exist\n/)
                    assert.match(error.message, /'no-such-role' \(from the user given to the connection\)/)
                    assert.match(error.message, /pgaadauth_create_principal_with_oid\('no-such-role'/)
                    assert.doesNotMatch(error.message, /eyJ/)
                    return true
                }),
            )
            await emulator.controlPostgres({ refuse_next: 1, refuse_with: 'role_missing' })
            await using(postgres, {}, (sql) => assert.rejects(roleOf(sql), /from a management-scope token/))
            // Other errors are not changed.
            await using(postgres, { database: 'no-such-database' }, (sql) =>
                assert.rejects(roleOf(sql), { message: 'database "no-such-database" does not exist' }),
            )
        })

        test('entraPostgresConfig passes on the session: parameters, large results, cancellation', async () => {
            const names = []
            const more = { onparameter: (name) => names.push(name), onnotice: () => {} }
            await using(
                postgres,
                { connection: { application_name: 'mine', search_path: 'pg_catalog' } },
                async (sql) => {
                    const [shown] = await sql`select current_setting('application_name') as name,
                        current_setting('search_path') as path`
                    assert.deepEqual({ ...shown }, { name: 'mine', path: 'pg_catalog' })
                    const [{ large }] = await sql`select repeat('x', 5000000) as large`
                    assert.equal(large.length, 5_000_000)
                    const query = sql`select pg_sleep(20)`
                    const rejected = assert.rejects(query, { code: '57014' })
                    await pause(200)
                    query.cancel()
                    await rejected
                    assert.equal(await roleOf(sql), identity.name)
                },
                more,
            )
            assert.ok(names.includes('server_version') && names.includes('application_name'), names.join())
        })

        test('entraPostgresConfig uses TLS also if the application sets ssl itself', async () => {
            const more = { ssl: { ca: emulator.ca, servername: emulator.target.host } }
            await using(postgres, {}, async (sql) => assert.equal(await roleOf(sql), identity.name), more)
            await using(postgres, { ssl: true }, (sql) => assert.rejects(roleOf(sql), /certificate/))
            await using(postgres, { ssl: 'require' }, async (sql) => assert.equal(await roleOf(sql), identity.name))
        })

        test('entraPostgresConfig rejects a server without TLS and sends no byte of the token', async () => {
            await emulator.controlPostgres({ plaintext: true })
            await using(postgres, {}, (sql) => assert.rejects(roleOf(sql), /does not support TLS/))
            assert.equal((await emulator.report()).counters.plaintext_password_bytes, 0)
        })

        test('entraPostgresConfig ends after connect_timeout if the server does not respond, and tries the next one', async () => {
            const silent = net.createServer(() => {}).listen(0, '127.0.0.1')
            await new Promise((resolve) => silent.once('listening', resolve))
            const { port } = silent.address()
            try {
                const started = performance.now()
                await using(postgres, { host: '127.0.0.1', port, connect_timeout: 1 }, (sql) =>
                    assert.rejects(roleOf(sql), { code: 'CONNECT_TIMEOUT' }),
                )
                assert.ok(performance.now() - started < 4000)
                const { host, port: other } = emulator.target
                const hosts = { host: ['127.0.0.1', host], port: [port, other], connect_timeout: 1 }
                await using(postgres, hosts, async (sql) => assert.equal(await roleOf(sql), identity.name))
            } finally {
                silent.close()
            }
        })

        test('entraPostgresConfig uses its pool again after errors of the credential', async () => {
            let isSignedIn = false
            const custom = async () => {
                if (!isSignedIn) throw new Error('not signed in')
                return (await emulator.mint(identity.name)).token
            }
            const { host, port } = emulator.target
            const several = { host: [host, host], port: [port, port] }
            const ssl = { ca: emulator.ca, servername: host }
            for (const [more, own] of [[{}], [several], [{}, { ssl }]]) {
                isSignedIn = false
                const place = { ...emulator.target, user: identity.name, ...more }
                const settings = await entraPostgresConfig(place, custom, { cache: false })
                const sql = postgres({ ...settings, max: 1, ...own })
                for (let i = 0; i < 3; i++) await assert.rejects(roleOf(sql), { code: 'custom_credential' })
                isSignedIn = true
                assert.equal(await roleOf(sql), identity.name)
                await sql.end({ timeout: 1 })
            }
        })

        test('entraPostgresConfig rejects if every one of several servers fails', async () => {
            const { host, port } = emulator.target
            const twice = { host: [host, host], port: [port, port] }
            for (const [settings, expected] of [
                [{ host: ['127.0.0.1', '127.0.0.1'], port: [1, 2] }, { code: 'ECONNREFUSED' }],
                [{ ...twice, ssl: true }, /certificate/],
                [{ ...twice, user: 'no-such-role' }, { code: '28000' }],
            ]) {
                await using(postgres, settings, async (sql) => {
                    for (let i = 0; i < 2; i++) await assert.rejects(roleOf(sql), expected)
                })
            }
        })

        test('entraPostgresConfig opens another connection if the server closes one during the login', async () => {
            await emulator.controlPostgres({ drop_next: 2, drop_at: 'password' })
            await using(postgres, {}, async (sql) => assert.equal(await roleOf(sql), identity.name))
        })

        test('entraPostgresConfig survives unexpected bytes of a server', async () => {
            const texts = [
                'HTTP/1.1 400 Bad Request\r\n\r\n',
                'E',
                '\0'.repeat(64),
                'R\0\0\0\x04',
                'S\0\0\0\x08',
                'E\0\0\0\x09ab\0\0\0',
            ]
            let next = 0
            const server = net.createServer((socket) => {
                socket.on('error', () => {})
                socket.once('data', () => socket.end(texts[next++ % texts.length]))
            })
            await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
            const settings = { host: '127.0.0.1', port: server.address().port, ssl: false, connect_timeout: 1 }
            try {
                for (let i = 0; i < texts.length; i++)
                    await using(postgres, settings, (sql) => assert.rejects(roleOf(sql)))
            } finally {
                server.close()
            }
        })
    })
}
