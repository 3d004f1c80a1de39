// A server without TLS receives no byte of a token, with every driver, version, and way to pass the token. The server's address
// counts as remote.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { describe, test } from 'node:test'
import newest from 'pg'
import before819 from 'pg-8.18'
import oldest from 'pg-oldest'
import postgres from 'postgres'
import oldestPostgres from 'postgres-oldest'
import {
    configureEntraAuthentication,
    entraConfig,
    entraMikroOrmConfig,
    entraPostgresConfig,
    entraTokenProvider,
    getEntraTokenPassword,
    PgEntraError,
    retryingClient,
} from 'pgentra'
import { DRIVERS, findError } from './drivers.mjs'
import { PACKAGE, run } from './emulator.mjs'
import { useEmulator } from './use_emulator.mjs'

const require = createRequire(import.meta.url)
const { Sequelize } = require('sequelize-oldest')
const { EntitySchema, MikroORM } = require('@mikro-orm/postgresql')

/** An address of this machine that does not count as local. */
const ELSEWHERE = '0.0.0.0'

const PG = { 'pg 8.0.3': oldest, 'pg 8.18': before819, 'pg, newest': newest }
const POSTGRES = { 'postgres.js 3.1.0': oldestPostgres, 'postgres.js, newest': postgres }

let emulator, identity, credential
useEmulator((started) => ({ emulator, identity, credential } = started), { retryOptions: { maxRetries: 0 } })

const who = async (client) => (await client.query('select current_user as role')).rows[0].role

async function connected(Client, config) {
    const client = new Client(config)
    client.on('error', () => {})
    try {
        await client.connect()
        return await who(client)
    } finally {
        // The oldest version does not call back if it has not connected.
        client.end(() => {})
    }
}

async function pooled(Pool, config) {
    const pool = new Pool(config)
    try {
        return await who(pool)
    } finally {
        await pool.end()
    }
}

async function asked(library, config) {
    const sql = library({ ...config, max: 1, fetch_types: false })
    try {
        return (await sql.unsafe('select current_user as role'))[0].role
    } finally {
        await sql.end({ timeout: 1 })
    }
}

async function mikroOrm(config) {
    const entity = new EntitySchema({ name: 'Thing', properties: { id: { type: 'number', primary: true } } })
    const orm = await MikroORM.init({ ...config, entities: [entity], connect: false, logger() {} })
    try {
        return (await orm.em.getConnection().execute('select current_user as role'))[0].role
    } finally {
        await orm.close(true)
    }
}

/** By name: logs in to a server in one of the documented ways. */
const WAYS = {}
for (const [name, { Client, Pool }] of Object.entries(PG)) {
    WAYS[`${name}, entraConfig`] = async (place) => pooled(Pool, await entraConfig(place, credential))
    WAYS[`${name}, entraConfig and retryingClient`] = async (place) =>
        pooled(Pool, { ...(await entraConfig(place, credential)), Client: retryingClient(Client) })
    WAYS[`${name}, entraTokenProvider`] = (place) =>
        connected(Client, { ...place, user: identity.name, password: entraTokenProvider(credential) })
    WAYS[`${name}, entraTokenProvider in a pool`] = (place) =>
        pooled(Pool, { ...place, user: identity.name, password: entraTokenProvider(credential) })
    WAYS[`${name}, getEntraTokenPassword`] = (place) =>
        connected(Client, { ...place, user: 'app-mi', password: getEntraTokenPassword })
}
for (const [name, library] of Object.entries(POSTGRES)) {
    WAYS[`${name}, entraPostgresConfig`] = async (place) => asked(library, await entraPostgresConfig(place, credential))
}
for (const name of ['Sequelize 6', 'Sequelize 7', 'Knex', 'TypeORM', 'Drizzle', 'Kysely', 'Prisma adapter']) {
    WAYS[name] = async (place) => {
        const pool = await DRIVERS[name].open(place, credential)
        try {
            return (await pool.who()).role
        } finally {
            await pool.close()
        }
    }
}
WAYS['Sequelize 6.1.0'] = async ({ ssl, ...place }) => {
    const dialectOptions = ssl === undefined ? {} : { ssl }
    const sequelize = new Sequelize({
        dialect: 'postgres',
        logging: false,
        ...place,
        dialectOptions,
        retry: { max: 0 },
    })
    try {
        const [rows] = await configureEntraAuthentication(sequelize, credential).query('select current_user as role')
        return rows[0].role
    } finally {
        await sequelize.close()
    }
}
WAYS['MikroORM 6, entraMikroOrmConfig'] = async (place) => mikroOrm(await entraMikroOrmConfig(place, credential))

const bytes = async () => (await emulator.report()).counters.plaintext_password_bytes

for (const [name, login] of Object.entries(WAYS)) {
    describe(name, () => {
        test('password function logs in over TLS', async () => {
            assert.match(await login(emulator.target), new RegExp(`^(app-mi|${identity.name})$`))
        })

        for (const ssl of [undefined, false]) {
            test(`password function sends no byte of a token with ssl ${ssl}`, async () => {
                await emulator.controlPostgres({ plaintext: true })
                const { port, database } = emulator.postgresReport
                await assert.rejects(login({ host: ELSEWHERE, port, database, ...(ssl === false && { ssl }) }))
                assert.equal(await bytes(), 0)
            })
        }
    })
}

for (const [name, { Client }] of Object.entries(PG)) {
    test(`${name}: password function notices that TLS was disabled later`, async () => {
        await emulator.controlPostgres({ plaintext: true })
        const { port, database } = emulator.postgresReport
        const config = await entraConfig({ host: ELSEWHERE, port, database }, credential)
        await assert.rejects(connected(Client, { ...config, ssl: false }), { code: 'insecure_transport' })
        assert.equal(await bytes(), 0)
        // The counter works: the bytes arrive if they are allowed.
        const allowed = entraTokenProvider(credential, { allowInsecureTransport: true })
        await connected(Client, { ...config, password: allowed, ssl: false })
        assert.ok((await bytes()) > 1000)
    })

    test(`${name}: password function checks a socket of the application`, async () => {
        await emulator.controlPostgres({ plaintext: true })
        const { port, database } = emulator.postgresReport
        const { connect } = await import('node:net')
        const { Duplex } = await import('node:stream')
        const wrapped = () => {
            const socket = connect(port)
            const stream = new Duplex({ read() {}, write: (chunk, _, done) => socket.write(chunk, done) })
            socket.on('data', (data) => stream.push(data)).on('close', () => stream.destroy())
            stream.on('close', () => socket.destroy())
            return Object.assign(stream, {
                connect: () => socket.once('connect', () => stream.emit('connect')),
                setNoDelay() {},
                ref() {},
                unref() {},
            })
        }
        const config = { database, user: identity.name, password: entraTokenProvider(credential), ssl: false }
        await assert.rejects(connected(Client, { ...config, host: 'localhost', stream: wrapped() }), {
            code: 'insecure_transport',
        })
        assert.equal(await bytes(), 0)
    })
}

test('MikroORM 6: password function notices that TLS was disabled later', async () => {
    await emulator.controlPostgres({ plaintext: true })
    const { port, database } = emulator.postgresReport
    const { driverOptions: _, ...config } = await entraMikroOrmConfig({ host: ELSEWHERE, port, database }, credential)
    const error = await mikroOrm(config).catch((error) => error)
    assert.ok(
        findError(error, (one) => one instanceof PgEntraError && one.code === 'insecure_transport'),
        `${error}`,
    )
    assert.equal(await bytes(), 0)
})

for (const name of ['postgres', 'postgres-oldest']) {
    // postgres.js ends the process with the rejection of the function.
    test(`${name}: password function is called with pg's connection`, async () => {
        await emulator.controlPostgres({ plaintext: true })
        const { port, database } = emulator.postgresReport
        const program = `import postgres from '${name}'
            import { entraTokenProvider } from 'pgentra'
            const sql = postgres({ host: '${ELSEWHERE}', port: ${port}, database: '${database}', user: 'app-mi',
                password: entraTokenProvider() })
            await sql.unsafe('select 1')`
        const ended = await run(process.execPath, ['--input-type=module', '-e', program], { cwd: PACKAGE })
        assert.match(ended.output, /insecure_transport/)
        assert.equal(await bytes(), 0)
    })
}
