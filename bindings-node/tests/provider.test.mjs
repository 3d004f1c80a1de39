// TokenProvider: time limits, signals, and connection URLs.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import pg from 'pg'
import { PgEntraError, TokenProvider } from 'pgentra'
import { StaticTokenCredential } from 'pgentra/identity'
import { useEmulator } from './use_emulator.mjs'

let emulator, identity, credential
useEmulator((started) => ({ emulator, identity, credential } = started))

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
const fixed = new StaticTokenCredential(`${part({ alg: 'none' })}.${part({ exp: 4e9, upn: 'a b@example' })}.s+/`, 4e12)

test('TokenProvider.get ends its wait by timeout and by signal', async () => {
    const provider = new TokenProvider(() => new Promise(() => {}))
    for (const work of [
        (given) => provider.get(given),
        (given) => provider.login(given),
        (given) => provider.url({ host: 'db.example' }, given),
    ]) {
        const started = performance.now()
        await assert.rejects(work({ timeout: 100 }), { code: 'timeout' })
        assert.ok(performance.now() - started < 3000)
        const reason = new Error('stopped')
        await assert.rejects(work({ signal: AbortSignal.abort(reason) }), reason)
        const controller = new AbortController()
        setTimeout(() => controller.abort(reason), 50)
        await assert.rejects(work({ signal: controller.signal, timeout: 5000 }), reason)
        await assert.rejects(work({ abortSignal: AbortSignal.abort(reason) }), reason)
    }
})

test('TokenProvider.get rejects wrong options of a wait by their names', async () => {
    const provider = new TokenProvider(fixed)
    for (const [options, pattern] of [
        [{ timeout: '5' }, /`timeout`: expected a number of milliseconds, got string/],
        [{ timeout: -1 }, /`timeout`: expected a number of milliseconds, got another number/],
        [{ timeout: NaN }, /`timeout`/],
        [{ signal: 7 }, /`signal`: expected an AbortSignal, got number/],
        [{ timeouts: 1 }, /`timeouts`: unknown option; expected signal or timeout/],
    ]) {
        for (const work of [
            () => provider.get(options),
            () => provider.login(options),
            () => provider.invalidate('t', options),
        ])
            await assert.rejects(work, (error) => {
                assert.ok(error instanceof PgEntraError)
                assert.equal(error.code, 'invalid_configuration')
                assert.match(error.message, pattern)
                return true
            })
    }
    assert.equal((await provider.get(null)).slice(-4), '.s+/')
})

test('TokenProvider.url is a URL that tools can use', async () => {
    const { host, port, database } = emulator.postgresReport
    const url = await new TokenProvider(credential).url({ host, port, database })
    const client = new pg.Client({ connectionString: `${url}&sslrootcert=${emulator.bundleFile}` })
    await client.connect()
    assert.equal((await client.query('select current_user as role')).rows[0].role, identity.name)
    await client.end()
})

test('TokenProvider.url encodes every part and always verifies the server', async () => {
    const provider = new TokenProvider(fixed)
    const token = encodeURIComponent(await provider.get())
    const login = `a%20b%40example:${token}`
    for (const [server, expected] of [
        [{ host: 'db.example', database: 'a b/c' }, `${login}@db.example/a%20b%2Fc?sslmode=verify-full`],
        [{ host: '::1', port: '5433', database: 'd' }, `${login}@[::1]:5433/d?sslmode=verify-full`],
        [{ host: '/run/pg', database: 'd' }, `${login}@/d?host=%2Frun%2Fpg&sslmode=verify-full`],
        [
            'postgres://bob@db.example:1/d?sslmode=require&options=-c%20x%3D1',
            `bob:${token}@db.example:1/d?options=-c%20x%3D1&sslmode=verify-full`,
        ],
    ]) {
        assert.equal(await provider.url(server), `postgresql://${expected}`)
    }
    await assert.rejects(provider.url(), { code: 'invalid_connection', message: /pass it as host, or set PGHOST/ })
    process.env.PGHOST = 'from.variable'
    process.env.PGPORT = '7'
    process.env.PGDATABASE = 'shop'
    assert.equal(await provider.url(), `postgresql://${login}@from.variable:7/shop?sslmode=verify-full`)
    const named = new TokenProvider(fixed, { host: 'of.option', user: 'role' })
    assert.equal(await named.url(), `postgresql://role:${token}@of.option:7/shop?sslmode=verify-full`)
})

test('TokenProvider.url uses the variables of Service Connector', async () => {
    Object.assign(process.env, {
        AZURE_POSTGRESQL_HOST: 's.postgres.database.azure.com',
        AZURE_POSTGRESQL_USER: identity.name,
        AZURE_POSTGRESQL_DATABASE: 'shop',
        AZURE_POSTGRESQL_PORT: '5432',
        AZURE_POSTGRESQL_SSL: 'true',
        AZURE_POSTGRESQL_CLIENTID: identity.appid,
        AZURE_AUTHORITY_HOST: emulator.authorityHost,
    })
    const url = await new TokenProvider(undefined, { serviceConnector: true }).url()
    assert.match(
        url,
        new RegExp(
            `^postgresql://${identity.name}:[^@]+@s.postgres.database.azure.com:5432/shop\\?sslmode=verify-full$`,
        ),
    )
})

test('TokenProvider.url rejects a password and unknown settings without showing them', async () => {
    const provider = new TokenProvider(fixed)
    for (const server of [
        'postgres://a:pa55word@db.example/d',
        { host: 'h', password: 'pa55word' },
        { ssl: true },
        7,
        'h=pa55word',
    ]) {
        await assert.rejects(provider.url(server), (error) => {
            assert.equal(error.code, 'invalid_connection')
            assert.doesNotMatch(error.message, /pa55word/)
            return true
        })
    }
})
