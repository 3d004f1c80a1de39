// The rules of tests/vectors, as Node sees them. `timing.json`, `entra-errors.json` and `credentials/` are the engine's alone.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { beforeEach, test } from 'node:test'
import { entraTokenProvider, TokenProvider } from 'pgentra'
import { EnvironmentCredential, StaticTokenCredential } from 'pgentra/identity'

const require = createRequire(import.meta.url)
const { native } = require('../lib/native.js')
const { calling } = require('../lib/errors.js')
const { Doors } = require('../lib/provider.js')

const vectors = (file) => JSON.parse(readFileSync(new URL(`../../tests/vectors/${file}.json`, import.meta.url), 'utf8'))
const each = (group, cases, run) =>
    test(`${group} (${cases.length})`, async (context) => {
        assert.ok(cases.length > 0)
        for (const [index, one] of cases.entries()) await context.test(one.name ?? `${index}`, () => run(one))
    })

const claims = vectors('claims')
const joined = (token) =>
    typeof token === 'string'
        ? token
        : token.map((part) => (typeof part === 'string' ? part : part.repeat.repeat(part.times))).join('')

beforeEach(() => {
    delete process.env.PGUSER
    delete process.env.AZURE_AUTHORITY_HOST
})

each('claims', claims.tokens, async ({ token: parts, claims: decoded, expect }) => {
    const token = joined(parts)
    if (decoded) assert.deepEqual(JSON.parse(native.decodeJwt(token)), decoded)
    // Blanks around a token are taken off where it is decoded, not where it is sent.
    if (expect.role === undefined || token !== token.trim()) return
    const credential = new StaticTokenCredential(token, 4e12)
    const login = await new Doors(credential, { management_lookup: false }).login()
    assert.deepEqual({ ...login }, { user: expect.role, password: token, source: expect.source })
})

each('tokens that cannot be read', [...claims.rejected, ...claims.large], ({ token: parts, error, role }) => {
    const token = joined(parts)
    if (error === undefined) {
        assert.equal(JSON.parse(native.decodeJwt(token)).upn, role)
        return
    }
    assert.throws(
        () => calling(() => native.decodeJwt(token)),
        (thrown) => {
            assert.equal(thrown.code, 'token_decode')
            assert.match(thrown.message, /^Invalid JWT token format/)
            assert.ok(token.length < 8 || !thrown.message.includes(token))
            return true
        },
    )
})

each('resource ids', claims.resource_ids, ({ xms_mirid, parse_principal_name }) => {
    assert.equal(native.parsePrincipalName(xms_mirid), parse_principal_name)
})

each('clouds', vectors('clouds').cases, async ({ inputs, error, expect }) => {
    // A blank option is refused before the cloud is asked for.
    const given = Object.fromEntries(Object.entries(inputs).filter(([, value]) => value.trim() !== ''))
    if ('env_authority_host' in inputs) process.env.AZURE_AUTHORITY_HOST = inputs.env_authority_host
    const asked = []
    const spy = async (scope) => {
        asked.push(scope)
        return { token: 'opaque', expiresOnTimestamp: Date.now() + 3600e3 }
    }
    const { authority_option: authorityHost, cloud_option: cloud, scope_option: scope, host } = given
    const work = async () => {
        // A foreign credential has no cloud, and ours would ask a server of the internet.
        const own = authorityHost !== undefined || cloud !== undefined
        const provider = new TokenProvider(own ? new EnvironmentCredential({ authorityHost, cloud }) : spy, {
            scope,
            host,
        })
        if (!own) await provider.get()
        return provider.stats().scope
    }
    if (error) {
        await assert.rejects(work, { code: 'invalid_configuration' })
        return
    }
    assert.equal(await work(), expect.scope)
    assert.ok(asked.every((one) => one === expect.scope))
})

each('refusals', vectors('refusals').refusals, ({ message, sqlstate, cause, retry }) => {
    assert.equal(native.isRetriable(sqlstate, message), retry)
    assert.equal(native.refusalCause(sqlstate, message), cause)
})

each('tls', vectors('tls').cases, ({ sslmode, hosts, allow_insecure: allow = false, result }) => {
    const work = () => calling(() => native.secureSslmode(sslmode, hosts, allow))
    if (result?.error) assert.throws(work, { code: result.error })
    else assert.equal(work(), result)
})

test('tls, as the password function applies it', async () => {
    const password = entraTokenProvider(new StaticTokenCredential('t', 4e12))
    for (const { sslmode, hosts, allow_insecure: allow, result } of vectors('tls').cases) {
        // pg knows one host, and no mode but on and off.
        if (hosts.length !== 1 || allow || !['disable', null].includes(sslmode) || hosts[0].includes('/')) continue
        const connection = { host: hosts[0], user: 'u', ssl: false }
        if (result === null) assert.equal(await password(connection), 't', hosts[0])
        else await assert.rejects(password(connection), { code: 'insecure_transport' }, hosts[0])
        assert.equal(await password({ ...connection, ssl: true }), 't')
    }
})
