// Logs in with the settings of Service Connector's variables only, and prints the role.
//
//   node tests/programs/service-connector.mjs pg|Sequelize|postgres.js

import { configureEntraAuthentication, entraConfig, entraPostgresConfig } from 'pgentra'

const WHO = 'select current_user as role'
const options = { serviceConnector: true }

const LOGINS = {
    async pg() {
        const { default: pg } = await import('pg')
        const pool = new pg.Pool(await entraConfig({}, undefined, options))
        const { rows } = await pool.query(WHO)
        await pool.end()
        return rows[0].role
    },
    async Sequelize() {
        const { Sequelize } = await import('sequelize')
        const sequelize = new Sequelize({ dialect: 'postgres', logging: false })
        configureEntraAuthentication(sequelize, undefined, options)
        const [rows] = await sequelize.query(WHO)
        await sequelize.close()
        return rows[0].role
    },
    async 'Sequelize 7'() {
        const { Sequelize } = await import('@sequelize/core')
        const { PostgresDialect } = await import('@sequelize/postgres')
        const sequelize = new Sequelize({ dialect: PostgresDialect, logging: false })
        configureEntraAuthentication(sequelize, undefined, options)
        const [rows] = await sequelize.query(WHO)
        await sequelize.close()
        return rows[0].role
    },
    async 'postgres.js'() {
        const { default: postgres } = await import('postgres')
        const sql = postgres(await entraPostgresConfig({}, undefined, options))
        const rows = await sql.unsafe(WHO)
        await sql.end()
        return rows[0].role
    },
}

console.log(await LOGINS[process.argv[2]]())
