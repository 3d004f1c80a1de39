// What the public tests of `@azure/postgresql-auth` and those of the sample repository's `entra-connection.js` expect, in
// their words. Where tokens are cached here, a counter of the credential's calls stays lower: `cache: false` counts as theirs.

import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import pg from 'pg'
import { createRequire } from 'node:module'
import { configureEntraAuthentication, configureEntraIdAuth, entraTokenProvider, getEntraTokenPassword } from 'pgentra'
import { Emulator } from './emulator.mjs'

const { Sequelize } = createRequire(import.meta.url)('sequelize')

const ENTRA_USER = 'test@example.com'
const IDENTITY = 'managed-identity-app-id'
const FALLBACK = 'fallback@example.com'

const jwt = (claims) => {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
    return `${part({ alg: 'RS256', typ: 'JWT' })}.${part({ iat: 1234567890, exp: 9999999999, ...claims })}.fake-signature`
}

/** A credential that counts, whatever it is asked for. */
class TestCredential {
    calls = 0
    scopes = []

    constructor(answer) {
        this.answer = answer
    }

    async getToken(scope) {
        this.calls++
        this.scopes.push(scope)
        if (this.answer instanceof Error) throw this.answer
        return this.answer && { token: this.answer, expiresOnTimestamp: Date.now() + 3600e3 }
    }
}

/** An object with `beforeConnect`, and the callback that it was given. */
function mock() {
    const instance = {
        beforeConnect(callback) {
            instance.captured = callback
        },
    }
    return instance
}

async function configured(answer, options, config = {}) {
    const instance = mock()
    configureEntraAuthentication(instance, new TestCredential(answer), options)
    await instance.captured(config)
    return config
}

beforeEach(() => delete process.env.PGUSER)

describe('@azure/postgresql-auth: entraTokenProvider', () => {
    test('returns the access token string from the credential', async () => {
        const token = jwt({ upn: ENTRA_USER })
        assert.equal(await entraTokenProvider(new TestCredential(token))(), token)
    })

    test('passes the default scope, and a custom one', async () => {
        const credential = new TestCredential(jwt({ upn: ENTRA_USER }))
        await entraTokenProvider(credential)()
        await entraTokenProvider(credential, { scope: 'https://custom-scope/.default' })()
        assert.deepEqual(credential.scopes, [
            'https://ossrdbms-aad.database.windows.net/.default',
            'https://custom-scope/.default',
        ])
    })

    test('throws when credential is not provided', () => {
        assert.throws(() => entraTokenProvider(null), { message: /credential is required/ })
    })

    test('throws when token acquisition fails', async () => {
        const credential = new TestCredential(new Error('Simulated auth failure'))
        await assert.rejects(entraTokenProvider(credential)(), { message: /Simulated auth failure/ })
    })

    test('throws when the credential returns a null token', async () => {
        await assert.rejects(entraTokenProvider(new TestCredential(null))(), {
            message: /^Failed to acquire Entra ID token/,
        })
    })

    test('invokes the credential each time it is called: with cache: false', async () => {
        const credential = new TestCredential(jwt({ upn: ENTRA_USER }))
        const [cached, each] = [entraTokenProvider(credential), entraTokenProvider(credential, { cache: false })]
        for (let call = 0; call < 3; call++) await cached()
        assert.equal(credential.calls, 1)
        for (let call = 0; call < 3; call++) await each()
        assert.equal(credential.calls, 4)
    })
})

describe('@azure/postgresql-auth: configureEntraAuthentication', () => {
    test('registers a beforeConnect callback on the instance', () => {
        const instance = mock()
        configureEntraAuthentication(instance, new TestCredential(jwt({ upn: ENTRA_USER })))
        assert.equal(typeof instance.captured, 'function')
    })

    test('throws when credential is not provided', () => {
        assert.throws(() => configureEntraAuthentication(mock(), null), { message: /credential is required/ })
    })

    test('sets username from the UPN claim and password from the token', async () => {
        const token = jwt({ upn: ENTRA_USER })
        const { username, password } = await configured(token)
        assert.deepEqual([username, password], [ENTRA_USER, token])
    })

    test('overrides existing username and password on the config', async () => {
        const token = jwt({ upn: ENTRA_USER })
        const old = { username: 'old-user', password: 'old-password' }
        const { username, password } = await configured(token, {}, old)
        assert.deepEqual([username, password], [ENTRA_USER, token])
    })

    test('sets username from the appid claim when UPN is absent', async () => {
        const token = jwt({ appid: IDENTITY })
        const { username, password } = await configured(token)
        assert.deepEqual([username, password], [IDENTITY, token])
    })

    test('uses fallbackUsername when the token has no upn or appid', async () => {
        const token = jwt({ sub: 'some-subject' })
        const { username, password } = await configured(token, { fallbackUsername: FALLBACK })
        assert.deepEqual([username, password], [FALLBACK, token])
    })

    test('falls back to PGUSER', async () => {
        process.env.PGUSER = 'env-user@example.com'
        assert.equal((await configured(jwt({ sub: 's' }))).username, 'env-user@example.com')
    })

    test('throws when no username can be derived', async () => {
        process.env.PGUSER = ''
        const derived = { message: /^Could not determine DB username/ }
        await assert.rejects(configured(jwt({ sub: 's' })), derived)
        await assert.rejects(configured('only-one-part'), derived)
    })

    test('propagates token acquisition errors', async () => {
        await assert.rejects(configured(new Error('Simulated auth failure')), { message: /Simulated auth failure/ })
    })

    test('invokes the credential on each beforeConnect call: with cache: false', async () => {
        const instance = mock()
        const credential = new TestCredential(jwt({ upn: ENTRA_USER }))
        configureEntraAuthentication(instance, credential, { cache: false })
        await instance.captured({})
        assert.equal(credential.calls, 1)
        await instance.captured({})
        assert.equal(credential.calls, 2)
    })
})

describe('entra-connection.js of the sample repository', () => {
    let emulator, user, identity
    before(async () => {
        emulator = await Emulator.start()
        user = await emulator.addPrincipal('user')
        // As the samples have it: a role by the name of the client id.
        const appid = '12121212-0000-0000-0000-000000000012'
        identity = await emulator.addPrincipal('user_assigned', { appid, role: appid })
    })
    after(() => emulator.stop())

    const credentialOf = async ({ name }) => new TestCredential((await emulator.mint(name)).token)
    const CASES = [
        ['an Entra user', () => [user, user.name]],
        ['a managed identity', () => [identity, identity.appid]],
    ]

    test('configureEntraIdAuth returns the instance', () => {
        const instance = mock()
        assert.equal(configureEntraIdAuth(instance, new TestCredential('t')), instance)
        assert.throws(() => configureEntraIdAuth(mock(), null), { message: /credential is required/ })
    })

    for (const [who, principal] of CASES) {
        test(`Sequelize connects with ${who} using configureEntraIdAuth`, async () => {
            const [one, role] = principal()
            const { ssl, ...place } = emulator.target
            const sequelize = new Sequelize({ dialect: 'postgres', logging: false, ...place, dialectOptions: { ssl } })
            configureEntraIdAuth(sequelize, await credentialOf(one))
            await sequelize.authenticate()
            const [[found]] = await sequelize.query('SELECT current_user, current_database()')
            assert.deepEqual(found, { current_user: role, current_database: place.database })
            await sequelize.close()
        })

        test(`pg connects with ${who} using getEntraTokenPassword`, async () => {
            const [one, role] = principal()
            const token = await getEntraTokenPassword(await credentialOf(one))
            const client = new pg.Client({ ...emulator.target, user: role, password: token })
            await client.connect()
            const { rows } = await client.query('SELECT current_user')
            assert.deepEqual(rows, [{ current_user: role }])
            await client.end()
        })
    }

    test('a pool with the bare function, as the sample writes it', async () => {
        emulator.adopt()
        const pool = new pg.Pool({ ...emulator.target, user: 'app-mi', password: getEntraTokenPassword })
        assert.deepEqual((await pool.query('SELECT current_user')).rows, [{ current_user: 'app-mi' }])
        await pool.end()
    })

    test('an invalid token, and a server that is not there, are errors', async () => {
        const password = await getEntraTokenPassword(new TestCredential('not.a.valid.token'))
        const client = new pg.Client({ ...emulator.target, user: user.name, password })
        await assert.rejects(client.connect(), { code: '28000' })
        const nowhere = new pg.Client({ ...emulator.target, host: 'server.invalid', user: user.name, password })
        await assert.rejects(nowhere.connect(), Error)
    })

    test('failures are told in the words that people match', async () => {
        const failing = new TestCredential(new Error('Authentication failed'))
        await assert.rejects(getEntraTokenPassword(failing), { message: /Authentication failed/ })
        await assert.rejects(getEntraTokenPassword(new TestCredential(null)), {
            message: /^Failed to acquire Entra ID token/,
        })
    })

    test('a token is fetched when there is none, kept while it is valid, and fetched again', async () => {
        let calls = 0
        const lifetimes = [1, 3600]
        const credential = {
            async getToken() {
                const token = `token-${++calls}`
                return { token, expiresOnTimestamp: Date.now() + lifetimes.shift() * 1000 }
            },
        }
        assert.equal(await getEntraTokenPassword(credential), 'token-1')
        assert.equal(await getEntraTokenPassword(credential), 'token-1')
        assert.equal(calls, 1)
        await new Promise((resolve) => setTimeout(resolve, 1100))
        assert.equal(await getEntraTokenPassword(credential), 'token-2')
        assert.equal(calls, 2)
    })
})
