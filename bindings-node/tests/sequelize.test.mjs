// Sequelize 6 and 7 with the emulator's PostgreSQL server, and the hook without a server.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { inspect } from 'node:util'
import { describe, test } from 'node:test'
import { configureEntraAuthentication, configureEntraIdAuth, TokenProvider } from 'pgentra'
import { useEmulator } from './use_emulator.mjs'

const require = createRequire(import.meta.url)
const { Sequelize: Sequelize6 } = require('sequelize')
const { Sequelize: Sequelize7 } = require('@sequelize/core')
const { PostgresDialect } = require('@sequelize/postgres')

let emulator, identity, credential
useEmulator((started) => ({ emulator, identity, credential } = started))

const MAJORS = {
    6: ({ user, ...options } = {}) => {
        const { ssl, ...place } = emulator.target
        return new Sequelize6({
            dialect: 'postgres',
            logging: false,
            ...place,
            dialectOptions: { ssl },
            ...(user && { username: user }),
            ...options,
        })
    },
    7: (options = {}) => new Sequelize7({ dialect: PostgresDialect, logging: false, ...emulator.target, ...options }),
}

async function roles(sequelize, count = 1) {
    const ask = async () => (await sequelize.query('select current_user as role'))[0][0].role
    try {
        return await Promise.all(Array.from({ length: count }, ask))
    } finally {
        await sequelize.close()
    }
}

for (const [major, made] of Object.entries(MAJORS)) {
    describe(`Sequelize ${major}`, () => {
        test('hook serves three parallel first queries', async () => {
            const sequelize = made({ pool: { max: 3 } })
            assert.equal(configureEntraAuthentication(sequelize, credential), sequelize)
            assert.deepEqual(await roles(sequelize, 3), Array(3).fill(identity.name))
            assert.equal((await emulator.databaseRequests(identity)).length, 1)
        })

        test('configureEntraIdAuth authenticates with the default chain', async () => {
            const sequelize = configureEntraIdAuth(made())
            await sequelize.authenticate()
            assert.deepEqual(await roles(sequelize), ['app-mi'])
        })

        test('hook keeps a configured user and replaces the previous login', async () => {
            const { name } = await emulator.addPrincipal('group')
            const member = await emulator.addPrincipal('user', { groups: [name] })
            const function_ = async () => (await emulator.mint(member.name)).token
            assert.deepEqual(await roles(configureEntraAuthentication(made({ user: name }), function_)), [name])
            const old = made({ user: 'postgres', password: 'old', pool: { max: 2 } })
            assert.deepEqual(
                await roles(configureEntraAuthentication(old, credential), 2),
                Array(2).fill(identity.name),
            )
        })

        test('hook reconnects with the current token', async () => {
            const sequelize = configureEntraAuthentication(made({ pool: { max: 1, maxUses: 1 } }), credential)
            const ask = () => sequelize.query('select 1')
            await ask()
            await ask()
            await emulator.controlPostgres({ disconnect: true })
            await new Promise((resolve) => setTimeout(resolve, 200))
            await ask()
            assert.deepEqual(await roles(sequelize), [identity.name])
        })

        test('hook works with replication', async () => {
            const { host, port } = emulator.postgresReport
            const sequelize = made({
                replication: {
                    read: [
                        { host, port },
                        { host, port },
                    ],
                    write: { host, port },
                },
            })
            configureEntraAuthentication(sequelize, credential)
            assert.deepEqual(await roles(sequelize, 4), Array(4).fill(identity.name))
        })

        test('hook uses the last call and keeps the order of other hooks', async () => {
            const order = []
            const sequelize = made()
            const add = (name, hook) =>
                major === '7' ? sequelize.hooks.addListener(name, hook) : sequelize.addHook(name, hook)
            add('beforeConnect', (config) => void order.push(['before', Boolean(config.password)]))
            configureEntraAuthentication(sequelize, async () => {
                throw new Error('not this one')
            })
            configureEntraAuthentication(sequelize, credential)
            add('beforeConnect', (config) => void order.push(['after', Boolean(config.password)]))
            assert.deepEqual(await roles(sequelize), [identity.name])
            assert.deepEqual(order.slice(0, 2), [
                ['before', false],
                ['after', true],
            ])
        })

        test("hook passes the credential's error on", async () => {
            const own = new Error('canary')
            const sequelize = configureEntraAuthentication(made(), async () => {
                throw own
            })
            await assert.rejects(sequelize.authenticate(), (error) => {
                assert.equal(error.code, 'custom_credential')
                assert.equal(error.cause, own)
                return true
            })
            await sequelize.close()
        })

        test('hook retries a rejected login once with a newer token', async () => {
            await emulator.setTokens({ lifetime_s: 20 })
            await new TokenProvider(credential, { host: emulator.target.host }).get()
            await new Promise((resolve) => setTimeout(resolve, 2100))
            await emulator.controlPostgres({ refuse_next: 1, refuse_with: 'token_expired' })
            const sequelize = made({ pool: { max: 1 }, retry: { max: 0 } })
            configureEntraAuthentication(sequelize, credential)
            assert.deepEqual(await roles(sequelize), [identity.name])
            assert.equal((await emulator.databaseRequests(identity)).length, 2)
        })

        test('hook explains a rejected login, also after a retry', async () => {
            const sequelize = made({ user: 'no-such-role', retry: { max: 0 } })
            configureEntraAuthentication(sequelize, credential)
            await assert.rejects(roles(sequelize), (error) => {
                assert.match(error.message, /'no-such-role' \(from the user given to the connection\)/)
                assert.match(
                    (error.parent ?? error.cause).message,
                    /pgaadauth_create_principal_with_oid\('no-such-role'/,
                )
                assert.equal(error.message.split('Role tried').length, 2)
                assert.doesNotMatch(error.message, /eyJ/)
                return true
            })
            await emulator.controlPostgres({ refuse_next: 4, refuse_with: 'token_expired' })
            const derived = made({ retry: { max: 0 } })
            configureEntraAuthentication(derived, credential)
            await assert.rejects(roles(derived), /from a management-scope token/)
        })

        test('hook enables TLS and does not disable it', async () => {
            const seen = []
            const far = made({ host: 'db.invalid', ...(major === '7' ? { ssl: undefined } : { dialectOptions: {} }) })
            configureEntraAuthentication(far, credential)
            const look = (config) => void seen.push(major === '7' ? config.ssl : config.dialectOptions.ssl)
            if (major === '7') far.hooks.addListener('beforeConnect', look)
            else far.addHook('beforeConnect', look)
            await assert.rejects(far.authenticate())
            assert.deepEqual(seen, [true])
            await far.close()
            const plain = made({
                host: 'db.invalid',
                ...(major === '7' ? { ssl: false } : { dialectOptions: { ssl: false } }),
            })
            await assert.rejects(configureEntraAuthentication(plain, credential).authenticate(), {
                code: 'insecure_transport',
            })
            await plain.close()
        })
    })
}

test('configureEntraAuthentication rejects pg-native', () => {
    class Native {
        connect() {}
        query() {}
    }
    const place = { dialect: 'postgres', logging: false }
    const lib = { Client: Native, types: {} }
    const refused = { code: 'invalid_connection', message: /pg-native is not supported/ }
    for (const sequelize of [
        new Sequelize6({ ...place, native: true, dialectModule: { native: lib, types: {} } }),
        new Sequelize6({ ...place, dialectModule: lib }),
        { beforeConnect() {}, dialect: { options: { native: true } } },
        new Sequelize7({ dialect: PostgresDialect, pgModule: lib }),
    ])
        assert.throws(() => configureEntraAuthentication(sequelize, credential), refused)
    const seven = MAJORS[7]()
    process.env.NODE_PG_FORCE_NATIVE = '1'
    assert.throws(() => configureEntraAuthentication(seven, credential), refused)
    delete process.env.NODE_PG_FORCE_NATIVE
    configureEntraAuthentication(seven, credential)
})

test('hook of Sequelize 6 keeps the token out of the printed config', async () => {
    const sequelize = MAJORS[6]()
    let config
    sequelize.addHook('afterConnect', (_, given) => void (config = given))
    configureEntraAuthentication(sequelize, credential)
    await roles(sequelize)
    assert.match(config.password, /^eyJ/)
    assert.doesNotMatch(JSON.stringify(config) + inspect(config, { depth: 9 }), /eyJ/)
})

describe('hook without a server, as in the tests of the peers', () => {
    const jwt = (claims) => {
        const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
        return `${part({ alg: 'none' })}.${part({ exp: 9999999999, ...claims })}.s`
    }
    const hookOf = (token, options) => {
        let hook
        configureEntraAuthentication(
            { beforeConnect: (given) => (hook = given) },
            { getToken: async () => ({ token, expiresOnTimestamp: Date.now() + 3600e3 }) },
            { managementLookup: false, ...options },
        )
        return hook
    }
    const outcome = async (claims, options, config = {}) => {
        await hookOf(typeof claims === 'string' ? claims : jwt(claims), options)(config)
        return config.username
    }

    test('hook takes upn, then appid, then fallbackUsername', async () => {
        assert.equal(await outcome({ upn: 'u@example', appid: 'a' }), 'u@example')
        assert.equal(await outcome({ appid: 'a' }), 'a')
        assert.equal(await outcome({}, { fallbackUsername: 'f' }), 'f')
        assert.equal(await outcome('no-token-at-all', { fallbackUsername: 'f' }), 'f')
    })

    test('hook takes PGUSER', async () => {
        process.env.PGUSER = 'from-environment'
        assert.equal(await outcome({}), 'from-environment')
    })

    test('hook without a name rejects', async () => {
        await assert.rejects(outcome({}), { message: /^Could not determine DB username/ })
        await assert.rejects(outcome('no-token-at-all'), { message: /^Could not determine DB username/ })
    })

    test('hook requires a credential', () => {
        assert.throws(() => configureEntraAuthentication({ beforeConnect() {} }, null), {
            message: /^credential is required/,
        })
    })

    test('hook is installed once by two calls', async () => {
        const hooks = []
        const sequelize = { beforeConnect: (hook) => hooks.push(hook) }
        for (const upn of ['first', 'second']) {
            configureEntraAuthentication(sequelize, () => ({
                token: jwt({ upn }),
                expiresOnTimestamp: Date.now() + 3600e3,
            }))
        }
        const config = {}
        await hooks[0](config)
        assert.deepEqual([hooks.length, config.username], [1, 'second'])
    })

    test('hook decides by the login that a config had at first', async () => {
        const hook = hookOf(jwt({ upn: 'u@example' }))
        const config = {}
        await Promise.all([hook(config), hook(config), hook(config)])
        assert.equal(config.username, 'u@example')
        const chosen = { username: 'group' }
        await hook(chosen)
        await hook(chosen)
        assert.equal(chosen.username, 'group')
    })
})
