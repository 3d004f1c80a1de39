// The expectations of the public tests of `@azure/postgresql-auth` and of the sample repository's `entra-connection.js`. Tokens
// are cached here, so the credential is called less often; with `cache: false` it is called as often as there.

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

/** A credential that counts its calls. */
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

/** An object with `beforeConnect`, and the registered callback. */
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
    test("entraTokenProvider returns the credential's token", async () => {
        const token = jwt({ upn: ENTRA_USER })
        assert.equal(await entraTokenProvider(new TestCredential(token))(), token)
    })

    test('entraTokenProvider passes the default scope, and another one', async () => {
        const credential = new TestCredential(jwt({ upn: ENTRA_USER }))
        await entraTokenProvider(credential)()
        await entraTokenProvider(credential, { scope: 'https://custom-scope/.default' })()
        assert.deepEqual(credential.scopes, [
            'https://ossrdbms-aad.database.windows.net/.default',
            'https://custom-scope/.default',
        ])
    })

    test('entraTokenProvider throws when credential is not provided', () => {
        assert.throws(() => entraTokenProvider(null), { message: /credential is required/ })
    })

    test('entraTokenProvider rejects when token acquisition fails', async () => {
        const credential = new TestCredential(new Error('Simulated auth failure'))
        await assert.rejects(entraTokenProvider(credential)(), { message: /Simulated auth failure/ })
    })

    test('entraTokenProvider rejects when the credential returns a null token', async () => {
        await assert.rejects(entraTokenProvider(new TestCredential(null))(), {
            message: /^Failed to acquire Entra ID token/,
        })
    })

    test('entraTokenProvider with cache: false calls the credential each time', async () => {
        const credential = new TestCredential(jwt({ upn: ENTRA_USER }))
        const [cached, each] = [entraTokenProvider(credential), entraTokenProvider(credential, { cache: false })]
        for (let call = 0; call < 3; call++) await cached()
        assert.equal(credential.calls, 1)
        for (let call = 0; call < 3; call++) await each()
        assert.equal(credential.calls, 4)
    })
})

describe('@azure/postgresql-auth: configureEntraAuthentication', () => {
    test('configureEntraAuthentication registers a beforeConnect callback', () => {
        const instance = mock()
        configureEntraAuthentication(instance, new TestCredential(jwt({ upn: ENTRA_USER })))
        assert.equal(typeof instance.captured, 'function')
    })

    test('configureEntraAuthentication throws when credential is not provided', () => {
        assert.throws(() => configureEntraAuthentication(mock(), null), { message: /credential is required/ })
    })

    test('configureEntraAuthentication sets username from the UPN claim and password from the token', async () => {
        const token = jwt({ upn: ENTRA_USER })
        const { username, password } = await configured(token)
        assert.deepEqual([username, password], [ENTRA_USER, token])
    })

    test('configureEntraAuthentication replaces existing username and password', async () => {
        const token = jwt({ upn: ENTRA_USER })
        const old = { username: 'old-user', password: 'old-password' }
        const { username, password } = await configured(token, {}, old)
        assert.deepEqual([username, password], [ENTRA_USER, token])
    })

    test('configureEntraAuthentication sets username from the appid claim when UPN is absent', async () => {
        const token = jwt({ appid: IDENTITY })
        const { username, password } = await configured(token)
        assert.deepEqual([username, password], [IDENTITY, token])
    })

    test('configureEntraAuthentication uses fallbackUsername when the token has no upn or appid', async () => {
        const token = jwt({ sub: 'some-subject' })
        const { username, password } = await configured(token, { fallbackUsername: FALLBACK })
        assert.deepEqual([username, password], [FALLBACK, token])
    })

    test('configureEntraAuthentication uses PGUSER', async () => {
        process.env.PGUSER = 'env-user@example.com'
        assert.equal((await configured(jwt({ sub: 's' }))).username, 'env-user@example.com')
    })

    test('configureEntraAuthentication rejects when no username can be derived', async () => {
        process.env.PGUSER = ''
        const derived = { message: /^Could not determine DB username/ }
        await assert.rejects(configured(jwt({ sub: 's' })), derived)
        await assert.rejects(configured('only-one-part'), derived)
    })

    test('configureEntraAuthentication propagates token acquisition errors', async () => {
        await assert.rejects(configured(new Error('Simulated auth failure')), { message: /Simulated auth failure/ })
    })

    test('configureEntraAuthentication with cache: false calls the credential for each connection', async () => {
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
        // As in the samples, the role has the name of the client id.
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

    test('getEntraTokenPassword as the password of a pool logs in', async () => {
        emulator.adopt()
        const pool = new pg.Pool({ ...emulator.target, user: 'app-mi', password: getEntraTokenPassword })
        assert.deepEqual((await pool.query('SELECT current_user')).rows, [{ current_user: 'app-mi' }])
        await pool.end()
    })

    test("getEntraTokenPassword with an invalid token or server raises the driver's error", async () => {
        const password = await getEntraTokenPassword(new TestCredential('not.a.valid.token'))
        const client = new pg.Client({ ...emulator.target, user: user.name, password })
        await assert.rejects(client.connect(), { code: '28000' })
        const nowhere = new pg.Client({ ...emulator.target, host: 'server.invalid', user: user.name, password })
        await assert.rejects(nowhere.connect(), Error)
    })

    test('errors begin with the messages of the peers', async () => {
        const failing = new TestCredential(new Error('Authentication failed'))
        await assert.rejects(getEntraTokenPassword(failing), { message: /Authentication failed/ })
        await assert.rejects(getEntraTokenPassword(new TestCredential(null)), {
            message: /^Failed to acquire Entra ID token/,
        })
    })

    test('getEntraTokenPassword fetches a token, keeps it while it is valid, and fetches another', async () => {
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
