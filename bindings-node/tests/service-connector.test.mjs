// Azure Service Connector's variables, in the form of its client type nodejs: each identity and driver, with no other settings.
// A login prints a line `connector: IDENTITY / DRIVER / Node`, which `make test` collects.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import pg from 'pg'
import {
    configureEntraAuthentication,
    entraConfig,
    entraPostgresConfig,
    entraTokenProvider,
    retryingClient,
    TokenProvider,
} from 'pgentra'
import { ManagedIdentityCredential } from 'pgentra/identity'
import { PACKAGE, run } from './emulator.mjs'
import { useEmulator } from './use_emulator.mjs'

const require = createRequire(import.meta.url)
const { Sequelize } = require('sequelize')
const { Sequelize: Sequelize7 } = require('@sequelize/core')
const { PostgresDialect } = require('@sequelize/postgres')

let emulator
useEmulator((started) => ({ emulator } = started))

/** The variables of Service Connector and the role, for each type of identity. */
const IDENTITIES = {
    async 'system-assigned'() {
        // The identity that the platform uses if a request names none.
        await emulator.call('PUT', '/config', { app_service: { default: 'vm-prod' } })
        return { role: 'vm-prod', variables: {} }
    },
    async 'user-assigned'() {
        const { name, appid } = await emulator.addPrincipal()
        return { role: name, variables: { CLIENTID: appid } }
    },
    async 'service-principal'() {
        const { name, appid, secret } = await emulator.addPrincipal('service_principal')
        return { role: name, variables: { CLIENTID: appid, CLIENTSECRET: secret, TENANTID: emulator.tenantId } }
    },
}

function variablesFor({ role, variables }, prefix = 'AZURE_POSTGRESQL_') {
    const { host, port, database } = emulator.postgresReport
    const all = { HOST: host, USER: role, DATABASE: database, PORT: String(port), SSL: 'true', ...variables }
    return Object.fromEntries(Object.entries(all).map(([name, value]) => [prefix + name, value]))
}

for (const [identity, make] of Object.entries(IDENTITIES)) {
    for (const driver of ['pg', 'Sequelize', 'Sequelize 7', 'postgres.js']) {
        test(`serviceConnector logs in: ${identity}, ${driver}`, async () => {
            const made = await make()
            // The emulator's cloud, as an application in another cloud sets it.
            const cloud = { AZURE_AUTHORITY_HOST: emulator.authorityHost }
            const { status, output } = await run(
                process.execPath,
                [join(PACKAGE, 'tests/programs/service-connector.mjs'), driver],
                { cwd: PACKAGE, env: { ...emulator.environment(), ...cloud, ...variablesFor(made) } },
            )
            assert.deepEqual([status, output], [0, `${made.role}\n`])
            console.log(`connector: ${identity} / ${driver} / Node`)
        })
    }
}

test('serviceConnector selects a connection by name and by prefix', async () => {
    const { name, appid } = await emulator.addPrincipal()
    const orders = variablesFor({ role: name, variables: { CLIENTID: appid } }, 'AZURE_POSTGRESQL_ORDERS_')
    Object.assign(process.env, variablesFor({ role: 'app-mi', variables: {} }), orders)
    for (const serviceConnector of ['orders', 'AZURE_POSTGRESQL_ORDERS_']) {
        const config = await entraConfig({ ssl: { ca: emulator.ca } }, undefined, { serviceConnector })
        assert.equal(config.user, name)
        const client = new pg.Client(config)
        await client.connect()
        await client.end()
        assert.equal((await new TokenProvider(undefined, { serviceConnector }).login()).user, name)
    }
    await assert.rejects(entraConfig({}, undefined, { serviceConnector: true }), (error) => {
        assert.equal(error.code, 'invalid_connection')
        assert.match(error.message, /AZURE_POSTGRESQL_ORDERS_\*/)
        return true
    })
})

test('serviceConnector yields to arguments and rejects a credential', async () => {
    Object.assign(process.env, variablesFor({ role: 'app-mi', variables: {} }))
    const options = { serviceConnector: true }
    const config = await entraConfig({ host: 'db.example', user: 'other', port: 1 }, undefined, options)
    assert.deepEqual([config.host, config.user, config.port], ['db.example', 'other', 1])
    const credential = new ManagedIdentityCredential('id')
    const isRefused = (error) => /serviceConnector/.test(error.message)
    await assert.rejects(entraConfig({}, credential, options), isRefused)
    await assert.rejects(entraPostgresConfig({}, credential, options), isRefused)
    assert.throws(() => entraTokenProvider(credential, options), isRefused)
    assert.throws(() => new TokenProvider(credential, options), isRefused)
    assert.throws(() => configureEntraAuthentication({ beforeConnect() {} }, credential, options), isRefused)
    await assert.rejects(entraConfig({}, undefined, { serviceConnector: 5 }), (error) => {
        assert.equal(error.code, 'invalid_configuration')
        return /serviceConnector/.test(error.message)
    })
})

test('serviceConnector with a server of Azure verifies the certificate', async () => {
    const { name } = await emulator.addPrincipal()
    const host = 'shop.postgres.database.azure.com'
    Object.assign(process.env, variablesFor({ role: name, variables: {} }), { AZURE_POSTGRESQL_HOST: host })
    const options = { serviceConnector: true }
    assert.equal((await entraConfig({}, undefined, options)).ssl, true)
})

test('serviceConnector with a password uses it and fetches no token', async () => {
    Object.assign(process.env, variablesFor({ role: 'app-mi', variables: { PASSWORD: 'not-a-secret' } }))
    const options = { serviceConnector: true }
    const config = await entraConfig({}, undefined, options)
    assert.deepEqual([config.user, config.password], ['app-mi', 'not-a-secret'])
    await assert.rejects(entraConfig({}, undefined, { ...options, requireEntra: true }), /requireEntra/)
    assert.throws(() => new TokenProvider(undefined, options), { code: 'invalid_connection' })
})

test('serviceConnector with a password: the Sequelize hook does not replace it', async () => {
    const { name } = await emulator.addPrincipal()
    const { token } = await emulator.mint(name)
    Object.assign(process.env, variablesFor({ role: name, variables: { PASSWORD: token } }))
    const ssl = { ca: emulator.ca }
    const instances = [
        new Sequelize({ dialect: 'postgres', dialectOptions: { ssl }, logging: false }),
        new Sequelize7({ dialect: PostgresDialect, ssl, logging: false }),
    ]
    for (const sequelize of instances) {
        configureEntraAuthentication(sequelize, undefined, { serviceConnector: true })
        const [[{ role }]] = await sequelize.query('select current_user as role')
        await sequelize.close()
        assert.equal(role, name)
    }
    const { requests } = await emulator.call('GET', '/requests')
    assert.deepEqual(requests, [])
})

test('login error names unused variables of Service Connector', async () => {
    const unused = variablesFor({ role: 'app-mi', variables: { CLIENTID: 'id' } })
    Object.assign(process.env, unused)
    const config = await entraConfig({ ...emulator.target, user: 'no-such-role' })
    const error = await new (retryingClient(pg.Client))(config).connect().catch((error) => error)
    for (const name of Object.keys(unused))
        assert.ok(error.message.includes(name), `${name} is not in ${error.message}`)
    assert.doesNotMatch(error.message, /pgaadauth_create_principal/)
})
