// The connection settings that are read or rejected.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import pg from 'pg'
import postgres from 'postgres'
import postgresOldest from 'postgres-oldest'
import {
    configureEntraAuthentication,
    entraClient,
    entraConfig,
    entraMikroOrmConfig,
    entraPostgresConfig,
    entraTokenProvider,
    getEntraTokenPassword,
    PgEntraError,
    retryingClient,
    setLogger,
    TokenProvider,
} from 'pgentra'
import * as pgentra from 'pgentra'
import { StaticTokenCredential } from 'pgentra/identity'
import { PACKAGE, run } from './emulator.mjs'
import { useEmulator } from './use_emulator.mjs'

const require = createRequire(import.meta.url)
const { Sequelize } = require('sequelize')

let emulator, identity, credential
useEmulator((started) => ({ emulator, identity, credential } = started))

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
const fixed = new StaticTokenCredential(`${part({ alg: 'none' })}.${part({ exp: 4e9, upn: 'u@example' })}.s`, 4e12)

/** Returns the resulting settings without those of pgentra. */
async function settingsOf(config, options, make = entraConfig) {
    const { password, socket: _, ...settings } = await make(config, fixed, options)
    return { ...settings, ...(typeof password !== 'function' && { password }) }
}
const postgresOf = (config, options) => settingsOf(config, options, entraPostgresConfig)

async function refused(work, code, pattern) {
    const error = await Promise.resolve()
        .then(work)
        .then(
            () => assert.fail('it was taken'),
            (error) => error,
        )
    assert.ok(error instanceof PgEntraError, `${error.stack}`)
    assert.equal(error.code, code, error.message)
    assert.match(error.message, pattern)
    assert.doesNotMatch(error.message, /pa55word/)
}

async function role(config) {
    const client = new pg.Client(config)
    await client.connect()
    const { rows } = await client.query('select current_user as role')
    await client.end()
    return rows[0].role
}

test('entraConfig reads URLs', async () => {
    const user = 'u@example'
    for (const [url, expected] of [
        ['postgres://[::1]:5433/shop', { host: '::1', port: 5433, database: 'shop' }],
        [{ host: '[::1]' }, { host: '::1' }],
        ['socket:/var/run/postgresql?db=shop', { host: '/var/run/postgresql', database: 'shop' }],
        ['/var/run/postgresql shop', { host: '/var/run/postgresql', database: 'shop' }],
        [
            'postgres://db.example/shop?application_name=a',
            { host: 'db.example', database: 'shop', ssl: true, application_name: 'a' },
        ],
        [new URL('postgres://db.example'), { host: 'db.example', ssl: true }],
        [
            { connectionString: 'postgres://localhost', max: 3 },
            { host: 'localhost', max: 3 },
        ],
        // A setting that pg does not read does not affect the decision.
        ['postgres://db.example/?hostaddr=127.0.0.1', { host: 'db.example', ssl: true }],
    ]) {
        assert.deepEqual(await settingsOf(url), { user, ...expected }, `${url}`)
    }
    // A password with a percent sign that is not encoded, as in pg.
    const given = await settingsOf('postgres://alice:pa55word%@localhost/shop')
    assert.deepEqual(given, { host: 'localhost', database: 'shop', user: 'alice', password: 'pa55word%' })
})

test('entraConfig rejects other forms of connection strings and names the expected form', async () => {
    for (const text of [
        '',
        'db.example',
        'host=db.example password=pa55word',
        'Server=db.example;User Id=alice;Password=pa55word',
        'jdbc:postgresql://db.example/shop?password=pa55word',
        'mysql://db.example',
    ]) {
        for (const make of [entraConfig, entraPostgresConfig, entraMikroOrmConfig]) {
            await refused(() => make(text, fixed), 'invalid_connection', /postgresql:\/\/role@server/)
            await refused(
                () => make({ connectionString: text }, fixed),
                'invalid_connection',
                /postgresql:\/\/role@server/,
            )
        }
    }
    for (const config of ['postgres://a:1,b:2/shop', { host: 'a,b' }, { connectionString: 'postgres://a,b/shop' }]) {
        await refused(() => entraConfig(config, fixed), 'invalid_connection', /several servers/)
        await refused(
            () => new (entraClient(pg.Client, fixed))(config).connect(),
            'invalid_connection',
            /several servers/,
        )
    }
})

test('entraConfig reads or rejects ssl as text', async () => {
    const place = { host: 'db.example' }
    for (const ssl of [
        'require',
        'verify-full',
        'verify-ca',
        'prefer',
        'allow',
        'true',
        '1',
        'on',
        '',
        null,
        undefined,
    ]) {
        assert.equal((await settingsOf({ ...place, ssl })).ssl, true, `${ssl}`)
    }
    assert.deepEqual((await settingsOf({ ...place, ssl: 'no-verify' })).ssl, { rejectUnauthorized: false })
    for (const ssl of ['disable', 'false', '0', false]) {
        await refused(() => entraConfig({ ...place, ssl }, fixed), 'insecure_transport', /ssl: true/)
        assert.equal((await settingsOf({ host: 'localhost', ssl })).ssl, false)
    }
    for (const ssl of ['perhaps', 1, () => true]) {
        for (const make of [entraConfig, entraPostgresConfig]) {
            await refused(() => make({ ...place, ssl }, fixed), 'invalid_connection', /ssl: expected/)
        }
    }
    for (const query of ['ssl=false', 'ssl=0', 'sslmode=disable']) {
        await refused(() => entraConfig(`postgres://db.example/shop?${query}`, fixed), 'insecure_transport', /URL/)
    }
    await refused(
        () => entraConfig('postgres://db.example/shop?sslmode=perhaps', fixed),
        'invalid_connection',
        /sslmode/,
    )
    process.env.PGSSLMODE = 'Require'
    assert.equal((await settingsOf(place)).ssl, true)
    process.env.PGSSLMODE = 'perhaps'
    await refused(() => entraConfig(place, fixed), 'invalid_connection', /^PGSSLMODE: expected a mode/)
})

test('entraConfig keeps the certificates of ssl beside an sslmode', async () => {
    const { host, port, database } = emulator.postgresReport
    const connectionString = `postgres://${host}:${port}/${database}?sslmode=verify-full`
    const config = await entraConfig({ connectionString, ssl: { ca: emulator.ca } }, credential)
    assert.deepEqual(config.ssl, { ca: emulator.ca })
    assert.equal(await role(config), identity.name)
    const both = await entraConfig(
        { connectionString: `${connectionString}&sslrootcert=${emulator.bundleFile}`, ssl: true },
        credential,
    )
    assert.equal(await role(both), identity.name)
    await refused(
        () => entraConfig(`${connectionString}&sslrootcert=/no/such/file`, credential),
        'invalid_connection',
        /ENOENT/,
    )
    // With this parameter, pg reads the modes as libpq does.
    const lax = await settingsOf('postgres://db.example/shop?sslmode=require&uselibpqcompat=true')
    assert.deepEqual(lax.ssl, { rejectUnauthorized: false })
})

test('configureEntraAuthentication reads or rejects ssl as text', async () => {
    const { host, port, database } = emulator.postgresReport
    const url = `postgres://${host}:${port}/${database}`
    const login = async (text, dialectOptions) => {
        const sequelize = new Sequelize(text, {
            logging: false,
            retry: { max: 0 },
            ...(dialectOptions && { dialectOptions }),
        })
        configureEntraAuthentication(sequelize, credential)
        try {
            await sequelize.authenticate()
        } finally {
            await sequelize.close()
        }
    }
    const far = 'postgres://db.example/shop'
    for (const query of ['ssl=false', 'ssl=0', 'sslmode=disable']) {
        await refused(() => login(`${far}?${query}`), 'insecure_transport', /TLS/)
    }
    for (const ssl of ['false', 'disable']) {
        await refused(() => login(far, { ssl }), 'insecure_transport', /TLS/)
    }
    await refused(() => login(far, { ssl: 'perhaps' }), 'invalid_connection', /ssl/)
    await login(url, { ssl: { ca: emulator.ca } })
})

test('entraConfig prefers the given user to PGUSER, and drops a password without a user with a warning', async () => {
    process.env.PGUSER = 'from-environment'
    for (const make of [entraConfig, entraPostgresConfig]) {
        assert.equal((await make({ user: 'alice', host: 'h' }, fixed)).user, 'alice')
        assert.equal((await make('postgres://alice@h/', fixed)).user, 'alice')
        assert.equal((await make({ host: 'h' }, fixed, { user: 'alice' })).user, 'alice')
        assert.equal((await make({ host: 'h' }, fixed)).user, 'from-environment')
        // With a user from any source, the password is used.
        assert.equal((await make({ host: 'h', password: 'pa55word' }, fixed)).password, 'pa55word')
    }
    delete process.env.PGUSER
    const told = []
    setLogger((level, message) => level === 'warn' && told.push(message))
    try {
        const config = await entraConfig({ ...emulator.target, password: 'left-over' }, credential)
        assert.equal(await role(config), identity.name)
        assert.match(told[0], /password .* is not used/)
        await refused(
            () => entraConfig({ host: 'h', password: 'pa55word' }, fixed, { requireEntra: true }),
            'invalid_connection',
            /requireEntra/,
        )
    } finally {
        setLogger(null)
    }
})

test('warning is shown once without a logger', async () => {
    const program = `import { entraConfig } from 'pgentra'
        for (let i = 0; i < 3; i++) await entraConfig('postgres://alice:pa55word@db.example/shop')`
    const { status, output } = await run(process.execPath, ['--input-type=module', '-e', program], { cwd: PACKAGE })
    assert.equal(status, 0, output)
    assert.equal(output.match(/Entra is not used/g)?.length, 1, output)
    assert.doesNotMatch(output, /pa55word/)
})

test("entraConfig rejects wrong types by Node's names and units", async () => {
    for (const [config, pattern] of [
        [{ host: 5 }, /host: expected a string, got number/],
        [{ user: {} }, /user: expected a string/],
        [{ database: true }, /database: expected a string/],
        [{ port: 'x' }, /port: expected a number from 0 to 65535, got another text/],
        [{ port: 70000 }, /port: expected a number/],
        [{ password: 5 }, /password: expected a string or a function/],
        [{ connectionString: 5 }, /connectionString: expected a string/],
        [null, /config: expected/],
        [7, /config: expected/],
        [[], /config: expected/],
        [Promise.resolve({}), /config: expected/],
    ]) {
        for (const make of [entraConfig, entraPostgresConfig])
            await refused(() => make(config, fixed), 'invalid_connection', pattern)
    }
    for (const [options, pattern] of [
        [{ timeout: '5' }, /`timeout`: expected a number of milliseconds/],
        [{ timeout: -1 }, /`timeout`: expected a number of milliseconds/],
        [{ managementLookup: 'no' }, /`managementLookup`: expected true or false/],
        [{ requireEntra: 'yes' }, /`requireEntra`: expected true or false/],
        [{ allowInsecureTransport: 1 }, /`allowInsecureTransport`: expected true or false/],
        [{ scope: 5 }, /`scope`: expected a string/],
        [{ serviceConnector: 5 }, /`serviceConnector`: expected true/],
        [{ serviceConnector: '' }, /`serviceConnector`: expected true/],
    ]) {
        for (const make of [
            () => entraConfig({ host: 'h' }, fixed, options),
            () => entraClient(pg.Client, fixed, options),
            () => entraTokenProvider(fixed, options),
            () => new TokenProvider(fixed, options),
            () => configureEntraAuthentication({ beforeConnect() {} }, fixed, options),
        ])
            await refused(make, 'invalid_configuration', pattern)
    }
    const signal = AbortSignal.timeout(1e6)
    for (const [options, pattern] of [
        [{ timeout: '5' }, /`timeout`: expected a number of milliseconds, got string/],
        [{ timeout: -1 }, /`timeout`: expected a number of milliseconds, got another number/],
        [{ signal: 5 }, /`signal`: expected an AbortSignal, got number/],
        [signal, /expected an object with signal or timeout, got AbortSignal/],
        [5, /expected an object with signal or timeout, got number/],
        [{ sigal: signal }, /`sigal`: unknown option; expected signal or timeout/],
    ]) {
        for (const name of ['get', 'login'])
            await refused(() => new TokenProvider(fixed)[name](options), 'invalid_configuration', pattern)
    }
    for (const options of [undefined, null, { signal, timeout: 50 }, { signal: null, timeout: null }])
        assert.match(await new TokenProvider(fixed).get(options), /^eyJ/)
})

test('entraConfig rejects a credential as settings and settings as a credential', async () => {
    const place = { host: 'db.example' }
    const credentials = [fixed, credential, { getToken: async () => null }, async () => 'token']
    for (const one of credentials) {
        for (const make of [entraConfig, entraPostgresConfig, entraMikroOrmConfig]) {
            await refused(() => make(one), 'invalid_connection', /got a credential/)
            await refused(() => make(one, fixed), 'invalid_connection', /got a credential/)
            await refused(() => make(place, place), 'credential_value', /credential is required/)
            await refused(() => make(place, undefined, one), 'invalid_configuration', /got a credential/)
        }
        await refused(() => entraTokenProvider(undefined, one), 'invalid_configuration', /got a credential/)
        await refused(() => new TokenProvider(undefined, one), 'invalid_configuration', /got a credential/)
        const sequelize = { beforeConnect() {} }
        await refused(() => configureEntraAuthentication(one, sequelize), 'invalid_connection', /Sequelize/)
        await refused(
            () => configureEntraAuthentication(sequelize, undefined, one),
            'invalid_configuration',
            /credential/,
        )
        await refused(() => retryingClient(one), 'invalid_connection', /Client/)
        await refused(() => getEntraTokenPassword(one, one), 'invalid_configuration', /scope/)
    }
    await refused(() => retryingClient(place), 'invalid_connection', /Client/)
    await refused(() => entraTokenProvider(place), 'credential_value', /credential is required/)
    await refused(() => new TokenProvider({ scope: 'x' }), 'credential_value', /credential is required/)
    await refused(() => configureEntraAuthentication({ beforeConnect() {} }, place), 'credential_value', /required/)
    await refused(() => getEntraTokenPassword({ scope: 'x' }), 'credential_value', /credential is required/)
})

test('entraConfig keeps the credential of a password function', async () => {
    const config = await entraConfig({ ...emulator.target, password: entraTokenProvider(credential) })
    assert.equal(await role(config), identity.name)
    assert.equal(await role(await entraConfig(config)), identity.name)
    await refused(() => entraConfig(config, fixed), 'invalid_connection', /credential/)
})

test('password function checks the connection of its caller', async () => {
    const hostile = new Proxy({}, { get: () => assert.fail('of the proxy'), has: () => true })
    const frozen = Object.freeze({ host: 'db.example', ssl: false })
    for (const password of [entraTokenProvider(fixed), (await entraConfig({ host: 'db.example' }, fixed)).password]) {
        // A call by the application.
        assert.match(await password(), /^eyJ/)
        assert.match(await (0, { password }.password)(), /^eyJ/)
        for (const call of [
            () => password(frozen),
            () => password.call(frozen),
            () => password(hostile),
            () => password.call(hostile),
            () => password.call({}),
            () => password.call(null),
            () => password(null),
            () => password(1),
            () => password('db.example'),
            () => password({}),
            () => password({ host: undefined, ssl: false }),
            () => password({ host: [], ssl: false }),
            () => password({ host: ['localhost', 'db.example'], ssl: false }),
            () => password({ host: 'db.example', ssl: 'prefer' }),
            () => password({ host: 'db.example', ssl: 'perhaps' }),
        ]) {
            await refused(call, 'insecure_transport', /ssl: true|entraConfig/)
        }
        for (const connection of [
            { host: 'db.example', ssl: true },
            { host: 'db.example', ssl: { ca: 'x' } },
            { host: ['db.example'], ssl: 'require' },
            { host: 'localhost', ssl: false },
            { host: ['db.example'], path: '/var/run/.s.PGSQL.5432', ssl: false },
        ]) {
            assert.match(await password(connection), /^eyJ/)
            assert.match(await password.call(connection), /^eyJ/)
        }
    }
    const far = { host: 'db.example', ssl: false, user: 'u' }
    await refused(() => getEntraTokenPassword(far), 'insecure_transport', /ssl: true/)
    await refused(() => getEntraTokenPassword.call(far), 'insecure_transport', /ssl: true/)
    await refused(() => getEntraTokenPassword.call({}), 'insecure_transport', /entraConfig/)
    assert.match(await getEntraTokenPassword(fixed), /^eyJ/)
    assert.match(await pgentra.getEntraTokenPassword(), /^eyJ/)
    assert.match(await require('pgentra').getEntraTokenPassword(), /^eyJ/)
})

test('entraPostgresConfig passes on all options of postgres.js', async () => {
    const { host, port, database } = emulator.postgresReport
    const url = `postgres://${host}:${port}/${database}?application_name=of-the-url&search_path=pg_catalog&sslrootcert=${emulator.bundleFile}`
    for (const library of [postgres, postgresOldest]) {
        const sql = library({ ...(await entraPostgresConfig(url, credential)), max: 1 })
        const [shown] =
            await sql`select current_setting('application_name') as name, current_setting('search_path') as path`
        await sql.end()
        assert.deepEqual({ ...shown }, { name: 'of-the-url', path: 'pg_catalog' })
    }
    const settings = await postgresOf('postgres://a:1,b:2/shop?max=3&connect_timeout=7&prepare=false&options=x')
    assert.deepEqual(settings, {
        host: ['a', 'b'],
        port: [1, 2],
        database: 'shop',
        user: 'u@example',
        max: 3,
        connect_timeout: 7,
        prepare: false,
        connection: { options: 'x' },
    })
    assert.deepEqual((await postgresOf({ host: ['a', 'b'], port: 6 })).port, [6, 6])
    assert.deepEqual((await postgresOf({ host: 'a:1,b' })).port, [1, 5432])
    assert.deepEqual((await postgresOf({ host: '::1' })).host, ['::1'])
    const { host: addresses, port: ports } = await postgresOf({ host: ['[::1]:7', '[::2]'] })
    assert.deepEqual(
        [addresses, ports],
        [
            ['::1', '::2'],
            [7, 5432],
        ],
    )
    assert.deepEqual((await postgresOf('postgres://[::1]:7,[::2]/shop')).host, ['::1', '::2'])
    assert.equal((await postgresOf({ host: '/var/run' })).host, '/var/run')
    // TLS is set up by `socket`.
    assert.ok(!('ssl' in (await postgresOf({ path: 'a/socket', ssl: true }))))
    assert.equal((await postgresOf({ host: [] })).host, undefined)
    assert.equal((await postgresOf({ hostname: 'db.example', username: 'alice' })).user, 'alice')
    assert.equal((await postgresOf({ host: 'h', username: 'alice', pass: 'pa55word' })).password, 'pa55word')
    assert.equal((await postgresOf({ host: 'h', db: 'shop' })).database, 'shop')
    assert.deepEqual((await postgresOf({ host: 'h', ssl: 'require', connection: { a: 1 } })).connection, { a: 1 })
    await refused(() => postgresOf({ host: [5] }), 'invalid_connection', /host: expected/)
})

test('entraPostgresConfig connects to the first of several servers that accepts', async () => {
    const { host, port, database } = emulator.postgresReport
    const free = 1
    const config = { host: ['127.0.0.1', host], port: [free, port], database, ssl: { ca: emulator.ca } }
    const sql = postgres({ ...(await entraPostgresConfig(config, credential)), max: 1 })
    assert.equal((await sql`select current_user as role`)[0].role, identity.name)
    await sql.end()
})

test('entraPostgresConfig ends the wait for a token after connect_timeout', async () => {
    await emulator.addFault({ endpoint: 'app_service', connection: 'black_hole' })
    const { host, port, database } = emulator.postgresReport
    const place = { host, port, database, user: identity.name, ssl: { ca: emulator.ca }, connect_timeout: 1 }
    const sql = postgres({ ...(await entraPostgresConfig(place, credential)), max: 1 })
    const started = performance.now()
    await assert.rejects(sql`select 1`, PgEntraError)
    assert.ok(performance.now() - started < 4000)
    await sql.end({ timeout: 0 })
})
