// The drivers of `examples/node`, as users call them. A new driver is a new entry of `DRIVERS`.

import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { join } from 'node:path'
import { configureEntraAuthentication, entraConfig, entraPostgresConfig, retryingClient } from 'pgentra'
import { ROOT } from './emulator.mjs'

const samples = createRequire(join(ROOT, 'examples/node/package.json'))
const importSample = (name) => import(pathToFileURL(samples.resolve(name)))

const pg = samples('pg')
const { Sequelize: Sequelize6 } = samples('sequelize')
const { Sequelize: Sequelize7 } = samples('@sequelize/core')
const { PostgresDialect: Sequelize7Dialect } = samples('@sequelize/postgres')
const Knex = samples('knex')
const { DataSource } = samples('typeorm')
const { drizzle } = samples('drizzle-orm/node-postgres')
const { sql: drizzleSql } = samples('drizzle-orm')
const { Kysely, PostgresDialect, sql: kyselySql } = samples('kysely')
const { PrismaPg } = samples('@prisma/adapter-pg')
const { default: postgres } = await importSample('postgres')

/** Returns the role and the connection. */
const WHO = 'select current_user::text as role, pg_backend_pid() as pid'

/**
 * By name: `open(place, credential, {max, options})` resolves to `{who, close}`; `who()` queries over a new connection.
 * `place` are options of pg, or a connection string if `strings` is set. `retries`: a rejected login is retried;
 * `connectsAgain`: a lost connection is reopened; `replacesPassword`: a user with a password is replaced.
 */
export const DRIVERS = {
    pg: {
        strings: true,
        async open(place, credential, { max = 4, options } = {}) {
            const pool = new pg.Pool({ ...(await entraConfig(place, credential, options)), max, maxUses: 1 })
            // Errors of idle connections are expected.
            pool.on('error', () => {})
            return { who: async () => (await pool.query(WHO)).rows[0], close: () => pool.end() }
        },
    },
    'pg, retryingClient': {
        strings: true,
        retries: true,
        async open(place, credential, { max = 4, options } = {}) {
            const config = await entraConfig(place, credential, options)
            const pool = new pg.Pool({ ...config, max, maxUses: 1, Client: retryingClient(pg.Client) })
            pool.on('error', () => {})
            return { who: async () => (await pool.query(WHO)).rows[0], close: () => pool.end() }
        },
    },
    'Sequelize 6': {
        retries: true,
        replacesPassword: true,
        async open({ ssl, user, ...place }, credential, { max = 4, options } = {}) {
            const sequelize = new Sequelize6({
                dialect: 'postgres',
                logging: false,
                ...place,
                ...(user && { username: user }),
                ...(ssl !== undefined && { dialectOptions: { ssl } }),
                pool: { max, maxUses: 1 },
                retry: { max: 0 },
            })
            configureEntraAuthentication(sequelize, credential, options)
            return { who: async () => (await sequelize.query(WHO))[0][0], close: () => sequelize.close() }
        },
    },
    'Sequelize 7': {
        retries: true,
        replacesPassword: true,
        async open(place, credential, { max = 4, options } = {}) {
            const pool = { max, maxUses: 1 }
            const sequelize = new Sequelize7({ dialect: Sequelize7Dialect, logging: false, ...place, pool })
            configureEntraAuthentication(sequelize, credential, options)
            return { who: async () => (await sequelize.query(WHO))[0][0], close: () => sequelize.close() }
        },
    },
    Knex: {
        strings: true,
        async open(place, credential, { max = 4, options } = {}) {
            const connection = await entraConfig(place, credential, options)
            const log = { warn() {} }
            const knex = Knex({ client: 'pg', connection, pool: { min: 0, max }, log })
            const who = async () => {
                const used = await knex.client.acquireConnection()
                try {
                    return (await knex.raw(WHO).connection(used)).rows[0]
                } finally {
                    // Its pool has no limit of uses. A connection that is marked as disposed is not reused.
                    used.__knex__disposed = 'used'
                    await knex.client.releaseConnection(used)
                }
            }
            return { who, close: () => knex.destroy() }
        },
    },
    TypeORM: {
        strings: true,
        async open(place, credential, { max = 4, options } = {}) {
            const { user: username, ...connection } = await entraConfig(place, credential, options)
            const logger = { logQuery() {}, logQueryError() {}, logQuerySlow() {}, log() {} }
            const source = new DataSource({
                type: 'postgres',
                username,
                ...connection,
                logger,
                extra: { max, maxUses: 1 },
            })
            let ready
            const who = async () => {
                await (ready ??= source.initialize().catch((error) => {
                    ready = undefined
                    throw error
                }))
                return (await source.query(WHO))[0]
            }
            return { who, close: () => source.isInitialized && source.destroy() }
        },
    },
    Drizzle: {
        strings: true,
        async open(place, credential, { max = 4, options } = {}) {
            const connection = { ...(await entraConfig(place, credential, options)), max, maxUses: 1 }
            const db = drizzle({ connection })
            db.$client.on('error', () => {})
            return {
                who: async () => (await db.execute(drizzleSql.raw(WHO))).rows[0],
                close: () => db.$client.end(),
            }
        },
    },
    Kysely: {
        strings: true,
        async open(place, credential, { max = 4, options } = {}) {
            const pool = new pg.Pool({ ...(await entraConfig(place, credential, options)), max, maxUses: 1 })
            pool.on('error', () => {})
            const db = new Kysely({ dialect: new PostgresDialect({ pool }) })
            return {
                who: async () => (await kyselySql.raw(WHO).execute(db)).rows[0],
                close: () => db.destroy(),
            }
        },
    },
    'postgres.js': {
        retries: true,
        strings: true,
        connectsAgain: true,
        async open(place, credential, { max = 4, options } = {}) {
            // It replaces connections by age only, so each query has its own client.
            const settings = await entraPostgresConfig(place, credential, options)
            let open = 0
            const waiting = []
            const who = async () => {
                if (open >= max) await new Promise((resolve) => waiting.push(resolve))
                open++
                const sql = postgres({ ...settings, max: 1, fetch_types: false })
                try {
                    return (await sql.unsafe(WHO))[0]
                } finally {
                    await sql.end({ timeout: 1 })
                    open--
                    waiting.shift()?.()
                }
            }
            return { who, close() {} }
        },
    },
    'Prisma adapter': {
        strings: true,
        async open(place, credential, { max = 4, options } = {}) {
            const config = { ...(await entraConfig(place, credential, options)), max, maxUses: 1 }
            const client = await new PrismaPg(config, { onPoolError() {} }).connect()
            const who = async () => {
                const { rows } = await client.queryRaw({ sql: WHO, args: [], argTypes: [] })
                return { role: rows[0][0], pid: Number(rows[0][1]) }
            }
            return { who, close: () => client.dispose() }
        },
    },
}

/** Returns the error for which `isWanted` is true, among an error and its causes. */
export function findError(error, isWanted, depth = 5) {
    if (typeof error !== 'object' || error === null || depth === 0) return undefined
    if (isWanted(error)) return error
    for (const inner of [error.cause, error.parent, error.original, error.driverError, ...(error.errors ?? [])]) {
        const found = findError(inner, isWanted, depth - 1)
        if (found !== undefined) return found
    }
    return undefined
}

/** Whether this is an error of the server. */
export const isServerError = ({ code, severity, originalCode }) =>
    /^28/.test(originalCode ?? '') || (/^28/.test(code ?? '') && severity !== undefined)
