// Custom credentials: objects with getToken, functions, and their failures.

import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import * as esm from 'pgentra'
import { ChainedTokenCredential, EnvironmentCredential, StaticTokenCredential } from 'pgentra/identity'
import { ChainedTokenCredential as AzureChain } from '@azure/identity'

const { entraTokenProvider, TokenProvider, getEntraTokenPassword, setLogger } = esm
const require = createRequire(import.meta.url)
const inAnHour = () => Date.now() + 3600e3

function counting(answer = async () => ({ token: 'opaque', expiresOnTimestamp: inAnHour() })) {
    const calls = []
    return {
        calls,
        getToken(...given) {
            calls.push(given)
            return answer(...given)
        },
    }
}

test('custom credential is called once for all callers that wait, with the scope of the database', async () => {
    const credential = counting()
    const password = entraTokenProvider(credential)
    const other = entraTokenProvider(credential)
    const tokens = await Promise.all([password(), password(), other(), getEntraTokenPassword(credential)])
    assert.deepEqual(new Set(tokens), new Set(['opaque']))
    assert.deepEqual(credential.calls, [['https://ossrdbms-aad.database.windows.net/.default', {}]])
})

test('custom credential gets another scope, also from a list as in the peer', async () => {
    for (const scope of ['https://mine/.default', ['https://mine/.default']]) {
        const credential = counting()
        await entraTokenProvider(credential, { scope })()
        assert.equal(credential.calls[0][0], 'https://mine/.default')
    }
})

test('custom credential with cache: false is called for each connection in the context of the caller', async () => {
    const context = new AsyncLocalStorage()
    const credential = counting(async () => ({ token: `of-${context.getStore()}`, expiresOnTimestamp: inAnHour() }))
    const password = entraTokenProvider(credential, { cache: false })
    const tokens = await Promise.all(['a', 'b'].map((name) => context.run(name, () => password())))
    assert.deepEqual(tokens, ['of-a', 'of-b'])
    assert.equal(credential.calls.length, 2)
})

test('credential function can return every form of expiry', async () => {
    const jwt = `e30.${Buffer.from('{"exp":4000000000}').toString('base64url')}.s`
    for (const answer of [
        jwt,
        { token: jwt },
        { token: 'x', expiresOnTimestamp: inAnHour() },
        { token: 'x', expiresOn: new Date(inAnHour()) },
        { token: 'x', expiresOnTimestamp: inAnHour() / 1000 },
    ]) {
        const provider = new TokenProvider(() => answer)
        assert.equal(await provider.get(), answer.token ?? answer)
        assert.ok(provider.stats().expiresIn > 3000)
    }
})

const WRONG = {
    null: () => null,
    undefined: () => undefined,
    'a number': () => 7,
    'no token': () => ({ expiresOnTimestamp: inAnHour() }),
    'an empty token': () => ({ token: '', expiresOnTimestamp: inAnHour() }),
    'a token of two words': () => ({ token: 'two words', expiresOnTimestamp: inAnHour() }),
    'half a character': () => ({ token: 'eyJ\udcff', expiresOnTimestamp: inAnHour() }),
    'a token of another type': () => ({ token: Buffer.from('x'), expiresOnTimestamp: inAnHour() }),
    'an ISO date': () => ({ token: 'x', expiresOnTimestamp: '2030-01-01T00:00:00Z' }),
    NaN: () => ({ token: 'x', expiresOnTimestamp: NaN }),
    'no expiry': () => ({ token: 'opaque' }),
    'an invalid Date': () => ({ token: 'x', expiresOn: new Date('never') }),
    'a time to refresh of another type': () => ({ token: 'x', refreshAfterTimestamp: '2030-01-01T00:00:00Z' }),
}
for (const [name, answer] of Object.entries(WRONG)) {
    test(`custom credential that returns ${name} instead of a token gets an error`, async () => {
        for (const credential of [answer, async () => answer(), counting(async () => answer())]) {
            await assert.rejects(entraTokenProvider(credential)(), (error) => {
                assert.ok(error instanceof esm.PgEntraError)
                assert.equal(error.code, name === 'null' ? 'credential_unavailable' : 'credential_value')
                assert.match(error.message, /^Failed to acquire Entra ID token/)
                return true
            })
        }
    })
}

test('custom credential with a wrong time gets an error that names this time', async () => {
    for (const [name, what] of Object.entries({
        expiresOnTimestamp: 'an expiry',
        refreshAfterTimestamp: 'a refresh time',
    })) {
        const answer = { token: 'x', expiresOnTimestamp: inAnHour(), [name]: 'soon' }
        await assert.rejects(entraTokenProvider(() => answer)(), {
            message: new RegExp(`returned ${what} of type string`),
        })
    }
})

test('custom credential with an expired token gets dead_on_arrival', async () => {
    for (const ends of [1, Date.now() - 1000, -1]) {
        const password = entraTokenProvider(() => ({ token: 'x', expiresOnTimestamp: ends }))
        await assert.rejects(password(), { code: 'dead_on_arrival' })
    }
})

test('custom credential that throws or rejects is the cause of the error', async () => {
    class Own extends Error {}
    const own = new Own('AADSTS7000215: Invalid client secret. Trace ID: 1')
    const evil = {
        get message() {
            throw new Error('evil')
        },
    }
    const thrown = [own, 'text', undefined, null, 7n, Symbol('s'), evil, Object.create(null)]
    for (const what of thrown) {
        for (const credential of [
            () => {
                throw what
            },
            () => Promise.reject(what),
            () => ({
                then() {
                    throw what
                },
            }),
        ]) {
            await assert.rejects(entraTokenProvider(credential)(), (error) => {
                assert.ok(error instanceof esm.AuthenticationError)
                assert.equal(error.code, what === own ? 'authentication_failed' : 'custom_credential')
                assert.equal(error.cause, what)
                if (what === own)
                    assert.deepEqual([error.aadsts, error.message.includes('Invalid client secret')], [7000215, true])
                return true
            })
        }
    }
})

test('custom credential with a token in its error text gets an error without it', async () => {
    const password = entraTokenProvider(() => {
        throw new Error('bad eyJhbGciOiJub25lIn0.eyJhIjoxfQ.s here')
    })
    await assert.rejects(password(), (error) => !error.message.includes('eyJ'))
})

test('custom credential that does not respond: the wait ends, and an abort ends it at once', async () => {
    const credential = counting(() => new Promise(() => {}))
    await assert.rejects(entraTokenProvider(credential, { timeout: 50 })(), { code: 'timeout' })
    const provider = new TokenProvider(credential)
    const reason = new Error('mine')
    const controller = new AbortController()
    const wait = provider.get({ abortSignal: controller.signal })
    controller.abort(reason)
    await assert.rejects(wait, reason)
    await assert.rejects(provider.login({ abortSignal: AbortSignal.abort() }), { name: 'AbortError' })
})

test('TokenProvider.get that is aborted does not end the shared fetch', async () => {
    let give
    const credential = counting(() => new Promise((resolve) => (give = resolve)))
    const provider = new TokenProvider(credential)
    const controller = new AbortController()
    const aborted = provider.get({ abortSignal: controller.signal })
    const stays = provider.get()
    while (!give) await new Promise(setImmediate)
    controller.abort()
    await assert.rejects(aborted, { name: 'AbortError' })
    give({ token: 'opaque', expiresOnTimestamp: inAnHour() })
    assert.equal(await stays, 'opaque')
    assert.equal(credential.calls.length, 1)
})

test('ChainedTokenCredential continues after an unavailable member, also that of the Azure SDK', async () => {
    const unavailable = counting(async () => {
        const error = new Error('not here')
        error.name = 'CredentialUnavailableError'
        throw error
    })
    const good = counting()
    const ours = new ChainedTokenCredential(new EnvironmentCredential(), unavailable, good)
    assert.equal((await ours.getToken('s')).token, 'opaque')
    const pastNull = new ChainedTokenCredential({ getToken: async () => null }, good)
    assert.equal((await pastNull.getToken('s')).token, 'opaque')
    const theirs = new AzureChain(new EnvironmentCredential(), new StaticTokenCredential('static', inAnHour()))
    assert.equal((await theirs.getToken('s')).token, 'static')
    await assert.rejects(
        new ChainedTokenCredential(new EnvironmentCredential(), unavailable).getToken('s'),
        (error) => {
            assert.ok(error instanceof esm.CredentialUnavailableError)
            assert.deepEqual(
                error.errors.map(({ name }) => name),
                Array(2).fill('CredentialUnavailableError'),
            )
            return true
        },
    )
})

test('StaticTokenCredential.getToken returns a cached token for one scope', async () => {
    const ends = Math.floor(inAnHour() / 1000) * 1000
    const credential = new StaticTokenCredential('static', ends)
    // The first token is fetched, the second one is cached.
    for (let i = 0; i < 2; i++) {
        const { refreshAfterTimestamp, ...token } = await credential.getToken(['s'])
        assert.deepEqual(token, { token: 'static', expiresOnTimestamp: ends, tokenType: 'Bearer' })
        // Refreshed in its last fifth, or up to a tenth earlier; the clock is accurate to a second.
        const seconds = (ends - refreshAfterTimestamp) / 1000
        assert.ok(seconds > 718 && seconds < 1082, `refreshed ${seconds} s before its end`)
    }
    for (const scopes of [[], ['a', 'b'], '', undefined, 7]) {
        await assert.rejects(credential.getToken(scopes), { code: 'invalid_configuration' })
    }
})

test('package has the same classes in both module systems', () => {
    const cjs = require('pgentra')
    assert.deepEqual(Object.keys(cjs).sort(), Object.keys(esm).sort())
    for (const name of Object.keys(cjs)) assert.equal(cjs[name], esm[name])
    const identity = require('pgentra/identity')
    assert.equal(identity.StaticTokenCredential, StaticTokenCredential)
    assert.equal(identity.PgEntraError, esm.PgEntraError)
})

test('setLogger passes events on and ignores the errors of the listener', async () => {
    const events = []
    setLogger((level, message) => {
        events.push([level, message])
        throw new Error('canary')
    })
    try {
        await entraTokenProvider(counting())()
        const ends = Date.now() + 5000
        while (events.length === 0 && Date.now() < ends) await new Promise(setImmediate)
        assert.ok(events.length > 0)
        assert.doesNotMatch(JSON.stringify(events), /opaque/)
    } finally {
        setLogger(null)
    }
    assert.throws(() => setLogger(7), TypeError)
})

test('custom credential that is collected drops its tokens', async () => {
    assert.ok(global.gc, 'run with --expose-gc')
    const known = () => esm.stats().filter(({ credential }) => credential === 'Fleeting').length
    class Fleeting {
        async getToken() {
            return { token: 'opaque', expiresOnTimestamp: inAnHour() }
        }
    }
    for (let i = 0; i < 20; i++) await entraTokenProvider(new Fleeting())()
    const ends = Date.now() + 10_000
    while (known() > 5 && Date.now() < ends) {
        global.gc()
        await new Promise((resolve) => setTimeout(resolve, 10))
    }
    assert.ok(known() <= 5, `${known()} of 20 are still there`)
})
