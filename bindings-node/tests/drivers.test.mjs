// The behaviour of each driver with the emulator's PostgreSQL server.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { PgEntraError, TokenProvider } from 'pgentra'
import { DRIVERS, findError, isServerError } from './drivers.mjs'
import { useEmulator } from './use_emulator.mjs'

let emulator, identity, credential
useEmulator((started) => ({ emulator, identity, credential } = started), { retryOptions: { maxRetries: 0 } })

/** Opens a pool, runs `work`, and closes the pool. */
async function using(driver, given, work) {
    const { place, as, ...settings } = { place: emulator.target, as: credential, ...given }
    const pool = await driver.open(place, as, settings)
    try {
        return await work(pool)
    } finally {
        await pool.close()
    }
}

const rejectionOf = (promise) =>
    promise.then(
        ({ role }) => assert.fail(`logged in as ${role}`),
        (error) => error,
    )

const BEHAVIOURS = {
    async 'five parallel first connections: the role of the token, one token request'(driver) {
        const found = await using(driver, { max: 5 }, ({ who }) => Promise.all(Array.from({ length: 5 }, () => who())))
        assert.deepEqual(new Set(found.map(({ role }) => role)), new Set([identity.name]))
        assert.equal(new Set(found.map(({ pid }) => pid)).size, 5)
        assert.equal((await emulator.databaseRequests(identity)).length, 1)
        assert.equal((await emulator.report()).counters.plaintext_password_bytes, 0)
    },

    async 'nothing but the environment'(driver) {
        const found = await using(driver, { as: undefined }, ({ who }) => who())
        assert.equal(found.role, 'app-mi')
    },

    async 'a role chosen on purpose is kept'(driver) {
        const { name } = await emulator.addPrincipal('group')
        const member = await emulator.addPrincipal('user', { groups: [name] })
        const as = async () => (await emulator.mint(member.name)).token
        const found = await using(driver, { as, place: { ...emulator.target, user: name } }, ({ who }) => who())
        assert.equal(found.role, name)
    },

    async 'a user with a password: the old login'(driver) {
        const { token } = await emulator.mint(identity.name)
        const place = { ...emulator.target, user: identity.name, password: token }
        assert.equal((await using(driver, { place }, ({ who }) => who())).role, identity.name)
        const count = driver.replacesPassword ? 1 : 0
        assert.equal((await emulator.databaseRequests(identity)).length, count)
    },

    async 'a connection string'(driver) {
        if (!driver.strings) return
        const { host, port, database } = emulator.postgresReport
        const place = `postgres://${host}:${port}/${database}?sslmode=verify-full&sslrootcert=${emulator.bundleFile}`
        for (const one of [place, { connectionString: place }]) {
            assert.equal((await using(driver, { place: one }, ({ who }) => who())).role, identity.name)
        }
    },

    async 'a refused login, and a newer token'(driver) {
        await emulator.setTokens({ lifetime_s: 5 })
        await using(driver, {}, async ({ who }) => {
            assert.equal((await who()).role, identity.name)
            // A token younger than a tenth of its lifetime is not replaced.
            await new Promise((resolve) => setTimeout(resolve, 550))
            await emulator.controlPostgres({ refuse_next: 1, refuse_with: 'token_expired' })
            if (!driver.retries) {
                const error = await rejectionOf(who())
                assert.ok(findError(error, isServerError), `${error}`)
                // Equal settings share one token.
                const { host } = emulator.target
                assert.equal(await new TokenProvider(credential, { host }).invalidate(), true)
            }
            assert.equal((await who()).role, identity.name)
            assert.equal((await emulator.databaseRequests(identity)).length, 2)
        })
    },

    async 'what the credential throws arrives, with its cause'(driver) {
        const canary = new Error('canary')
        const as = async () => {
            throw canary
        }
        const place = { ...emulator.target, user: identity.name }
        const error = await using(driver, { as, place }, ({ who }) => rejectionOf(who()))
        const ours = findError(error, (one) => one instanceof PgEntraError)
        assert.equal(ours?.code, 'custom_credential', `${error}`)
        assert.equal(ours.cause, canary)
    },

    async 'no token: a typed error; then the service is back'(driver) {
        const outage = await emulator.addFault({ endpoint: 'app_service', status: 503 })
        const place = { ...emulator.target, user: identity.name }
        await using(driver, { place }, async ({ who }) => {
            const error = await rejectionOf(who())
            const ours = findError(error, (one) => one instanceof PgEntraError)
            assert.equal(ours?.code, 'service_unavailable', `${error}`)
            assert.match(ours.message, /503/)
            await emulator.clearFault(outage)
            const ends = Date.now() + 6000
            for (;;) {
                try {
                    assert.equal((await who()).role, identity.name)
                    break
                } catch (problem) {
                    if (Date.now() > ends) throw problem
                    await new Promise((resolve) => setTimeout(resolve, 100))
                }
            }
        })
    },

    async 'a server without TLS receives no byte of a token'(driver) {
        await emulator.controlPostgres({ plaintext: true })
        await using(driver, {}, ({ who }) => rejectionOf(who()))
        const far = { host: 'db.example', port: 1, database: 'd', user: 'u', ssl: false }
        const opening = driver.open(far, credential).then(async (pool) => {
            try {
                await pool.who()
            } finally {
                await pool.close()
            }
        })
        const error = await rejectionOf(opening)
        assert.equal(findError(error, (one) => one instanceof PgEntraError)?.code, 'insecure_transport', `${error}`)
        assert.equal((await emulator.report()).counters.plaintext_password_bytes, 0)
    },

    async 'a server that hangs up at the password'(driver) {
        await using(driver, {}, async ({ who }) => {
            assert.equal((await who()).role, identity.name)
            await emulator.controlPostgres({ drop_next: 1, drop_at: 'password' })
            if (!driver.connectsAgain) await rejectionOf(who())
            assert.equal((await who()).role, identity.name)
        })
    },
}

for (const [name, driver] of Object.entries(DRIVERS)) {
    describe(name, () => {
        for (const [behaviour, run] of Object.entries(BEHAVIOURS)) test(behaviour, () => run(driver))
    })
}
