// Runs all vectors of tests/vectors. A case that no public function covers is run by the addon, by its feature `testing`.

import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, test } from 'node:test'
import { AuthenticationError, entraTokenProvider, PgEntraError, setLogger, TokenProvider } from 'pgentra'
import * as identity from 'pgentra/identity'
import { ROOT } from './emulator.mjs'

const require = createRequire(import.meta.url)
const { native } = require('../lib/addon.js')
const { callNative } = require('../lib/errors.js')
const { TokenClient } = require('../lib/provider.js')
const { sources } = require('../lib/credential_source.js')

const FOLDER = join(ROOT, 'tests/vectors')
const text = (file) => readFileSync(join(FOLDER, `${file}.json`), 'utf8')
const vectors = (file) => JSON.parse(text(file))
const each = (group, cases, run) =>
    test(`${group} (${cases.length})`, async (context) => {
        assert.ok(cases.length > 0)
        for (const [index, one] of cases.entries()) await context.test(one.name ?? `${index}`, () => run(one, index))
    })

test('vectors have no file without a test', () => {
    const known = [
        'bindings',
        'claims',
        'clouds',
        'connections',
        'entra-errors',
        'login_errors',
        'options-node',
        'timing',
        'tls',
        'urls',
    ]
    // Python only: other languages have no process-wide login.
    const others = /^options-(?!node)|^untrusted/
    const files = readdirSync(FOLDER).filter((name) => name.endsWith('.json') && !others.test(name))
    assert.deepEqual(files.sort(), known.map((name) => `${name}.json`).sort())
})

const claims = vectors('claims')
const joined = (token) =>
    typeof token === 'string'
        ? token
        : token.map((part) => (typeof part === 'string' ? part : part.repeat.repeat(part.times))).join('')

/** Returns the result of a case in the engine, or throws its error. */
function inEngine(group, one) {
    const folder = mkdtempSync(join(tmpdir(), 'pgentra-vectors-'))
    try {
        const text = JSON.stringify(one).replaceAll('{dir}', folder)
        return JSON.parse(callNative(() => native.runVector(group, text, folder)))
    } catch (error) {
        error.directory = folder
        throw error
    } finally {
        rmSync(folder, { recursive: true })
    }
}

beforeEach(() => {
    delete process.env.PGUSER
    delete process.env.AZURE_AUTHORITY_HOST
})

each(
    'urls',
    vectors('urls').cases,
    ({ settings, environment = {}, scheme = 'postgresql', user, password, ...expect }) => {
        const written = () =>
            callNative(() =>
                new native.UrlSettings(settings, JSON.stringify(environment)).write(scheme, user, password),
            )
        if (expect.url !== undefined) return assert.equal(written(), expect.url)
        assert.throws(written, (error) => {
            assert.equal(error.code, 'invalid_connection')
            for (const part of expect.error) assert.ok(error.message.includes(part), error.message)
            assert.doesNotMatch(error.message, /canary/)
            return true
        })
    },
)

each('claims', claims.tokens, async (one) => {
    const { token: parts, claims: decoded, expect } = one
    const token = joined(parts)
    if (decoded) assert.deepEqual(JSON.parse(native.decodeJwt(token)), decoded)
    const isThere = ([, value]) => value !== null && !(Array.isArray(value) && value.length === 0)
    const read = Object.fromEntries(Object.entries(inEngine('tokens', one)).filter(isThere))
    assert.deepEqual(read, expect)
    // Whitespace around a token is removed when it is decoded, not when it is sent.
    if (expect.role === undefined || token !== token.trim()) return
    const credential = new identity.StaticTokenCredential(token, 4e12)
    const login = await new TokenClient(credential, { management_lookup: false }).login()
    assert.deepEqual({ ...login }, { user: expect.role, password: token, source: expect.source })
})

each('rejected tokens', [...claims.rejected, ...claims.large], (one) => {
    const { token: parts, error, role, ...rest } = one
    const token = joined(parts)
    if (error === undefined) {
        const all = JSON.parse(native.decodeJwt(token))
        assert.deepEqual([all.upn, all.fill.length], [role, rest.fill_length])
        return
    }
    assert.equal(inEngine('tokens', one).error, error)
    assert.throws(
        () => callNative(() => native.decodeJwt(token)),
        (thrown) => {
            assert.equal(thrown.code, 'token_decode')
            assert.match(thrown.message, /^Invalid JWT token format/)
            assert.ok(token.length < 8 || !thrown.message.includes(token))
            return true
        },
    )
})

each('resource ids', claims.resource_ids, (one) => {
    assert.equal(native.parsePrincipalName(one.xms_mirid), one.parse_principal_name)
    assert.equal(inEngine('resource_ids', one), one.identity_name)
})

each('missing names', claims.missing_names, (one) => {
    const told = inEngine('missing_names', one)
    for (const part of one.contains) assert.ok(told.includes(part), `${part} is not in: ${told}`)
})

each('create_role statements', claims.create_role, (one) => {
    assert.equal(inEngine('create_role', one), one.statement)
})

const clouds = vectors('clouds')
each('clouds', clouds.cases, (one) => {
    const { error, expect } = one
    const { warning, message, ...found } = inEngine('clouds', one)
    if (error) {
        assert.equal(found.setting, error.setting)
        assert.ok(message.startsWith(error.setting), message)
        return
    }
    const { warning: parts, ...wanted } = expect
    assert.deepEqual(found, wanted)
    assert.equal(warning === null, parts === null, warning)
    for (const part of parts ?? []) assert.ok(warning.includes(part), `${part} is not in: ${warning}`)
})

each('clouds, by TokenProvider', clouds.cases, async ({ inputs, error, expect }) => {
    // A blank option is rejected before the cloud is determined.
    const given = Object.fromEntries(Object.entries(inputs).filter(([, value]) => value.trim() !== ''))
    if ('env_authority_host' in inputs) process.env.AZURE_AUTHORITY_HOST = inputs.env_authority_host
    const asked = []
    const spy = async (scope) => {
        asked.push(scope)
        return { token: 'opaque', expiresOnTimestamp: Date.now() + 3600e3 }
    }
    const { authority_option: authorityHost, cloud_option: cloud, scope_option: scope, host } = given
    const work = async () => {
        // A custom credential has no cloud, and a built-in one would send a request to the internet.
        const own = authorityHost !== undefined || cloud !== undefined
        const credential = own ? new identity.EnvironmentCredential({ authorityHost, cloud }) : spy
        const provider = new TokenProvider(credential, { scope, host })
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

each('resources', clouds.resources, (one) => assert.equal(inEngine('resources', one), one.resource))

const loginErrors = vectors('login_errors')
each('login errors', loginErrors.login_errors, ({ message, sqlstate, cause, retry }) => {
    assert.equal(native.isRetriableLoginError(sqlstate, message), retry)
    assert.equal(native.loginErrorCause(sqlstate, message), cause)
})

each('explanations', loginErrors.explanations, (one) => {
    const told = inEngine('explanations', one)
    for (const part of one.contains) assert.ok(told.includes(part), `${part} is not in: ${told}`)
    for (const part of one.lacks ?? []) assert.ok(!told.includes(part), `${part} is in: ${told}`)
    assert.equal(told === '', one.cause === 'not_a_login')
})

/** Checks an error of connections.json. It must not contain a password. */
function checkRefused(work, { error: code, contains = [] }) {
    assert.throws(work, (error) => {
        assert.equal(error.code, code, error.message)
        for (const part of contains) assert.ok(error.message.includes(part), `${part} is not in: ${error.message}`)
        assert.doesNotMatch(error.message, /pa55word/)
        return true
    })
}

const planOf = (request) => JSON.parse(callNative(() => native.connectionPlan(JSON.stringify(request))))

const connections = JSON.parse(
    text('connections').replaceAll('{files}', join(FOLDER, 'services').replaceAll('\\', '/')),
)

each('connection strings', connections.strings, ({ text: given, form, settings, ...rest }) => {
    const work = () => JSON.parse(callNative(() => native.connectionSettings(given, form)))
    if (rest.error) checkRefused(work, rest)
    else assert.deepEqual(work(), settings)
})

each('connection plans', connections.plans, ({ request, result }) => {
    const work = () => planOf({ ...request, repeat_warnings: true })
    if (result.error) return checkRefused(work, result)
    const plan = work()
    const { warns, ...expected } = result
    for (const [key, value] of Object.entries(expected)) assert.deepEqual(plan[key], value, key)
    if (warns === undefined) return
    assert.equal(plan.warnings.length, warns.length, plan.warnings.join('; '))
    for (const [index, part] of warns.entries()) assert.ok(plan.warnings[index].includes(part), plan.warnings[index])
    assert.doesNotMatch(plan.warnings.join(), /pa55word/)
})

each('tls', vectors('tls').cases, ({ sslmode, hosts, allow_insecure: allow = false, result }) => {
    const isUnknown = hosts === 'unknown'
    const work = () =>
        planOf({
            arguments: { sslmode, ...(!isUnknown && { host: hosts.join(',') }) },
            variables: {},
            service_files: false,
            unknown_server: isUnknown,
            allow_insecure_transport: allow,
        }).sslmode
    if (result?.error) assert.throws(work, { code: result.error })
    else assert.equal(work(), result)
})

test('password function follows the vectors of TLS', async () => {
    const credential = new identity.StaticTokenCredential('t', 4e12)
    for (const { name, sslmode, hosts, allow_insecure: allow, result } of vectors('tls').cases) {
        const password = entraTokenProvider(credential, { allowInsecureTransport: allow })
        // pg has the setting in its parameters or in the client that the function is a method of, and postgres.js in its
        // options.
        const host = hosts === 'unknown' ? undefined : hosts[0]
        const isInsecure = sslmode === 'disable' && result !== null
        const isSecure = ['require', 'verify-ca', 'verify-full'].includes(sslmode)
        if (!isInsecure && !isSecure && result !== null) continue
        const ssl = isSecure ? sslmode : sslmode === 'disable' ? false : sslmode
        // Both drivers always have a host.
        if (host === '' || hosts.length === 0 || (result === null && ssl === 'bogus')) continue
        const list = hosts === 'unknown' ? undefined : hosts
        const calls = [
            () => password.call({ host: list, ssl, user: 'u' }),
            () => password({ host: list, ssl, user: 'u' }),
        ]
        if (list?.length === 1)
            calls.push(
                () => password({ host, ssl, user: 'u' }),
                () => password.call({ host, ssl, user: 'u' }),
            )
        for (const call of calls) {
            if (result === null) assert.equal(await call(), 't', name)
            else await assert.rejects(call(), { code: 'insecure_transport' }, name)
        }
    }
})

const timing = vectors('timing')
each('timing', timing.cases, (one) => {
    assert.deepEqual(
        inEngine('timing', one),
        one.steps.map((step) => step.expect ?? null),
    )
})

each('refresh points', timing.refresh_points, (one) => {
    assert.deepEqual(inEngine('refresh_points', one), { from: one.from, to: one.to })
})

const bindings = vectors('bindings')
each('responses of custom credentials', bindings.responses, (one) => {
    if (one.error === undefined) return assert.deepEqual(inEngine('responses', one), one.token)
    assert.throws(
        () => inEngine('responses', one),
        (thrown) => thrown instanceof PgEntraError && thrown.code === (one.error.code ?? one.error.kind),
    )
})

each('credential handles', bindings.handles, (one) => {
    if (one.error) assert.throws(() => inEngine('handles', one), { code: one.error })
    else
        assert.deepEqual(inEngine('handles', one), {
            document: one.document,
            custom_credentials: one.custom_credentials,
        })
})

// The engine's log events while a credential of the vectors fetches.
const logged = []
setLogger((_, message) => logged.push(message))

function checkError(error, expected) {
    assert.ok(error instanceof PgEntraError)
    assert.equal(error.code, expected.kind, error.message)
    assert.equal(error.aadsts, expected.aadsts)
    for (const part of expected.text ?? []) {
        const there = part.replace('{dir}', error.directory)
        assert.ok(error.message.includes(there), `${there} is not in ${error.message}`)
    }
    for (const [key, value] of Object.entries(expected.detail ?? {})) {
        assert.deepEqual(error.detail[key] ?? null, value, `detail ${key}`)
    }
    const attempts = (error.detail.attempts ?? []).map(({ credential, code }) => [credential ?? '', code])
    assert.deepEqual(attempts, expected.attempts ?? [])
    if (error instanceof AuthenticationError && error.detail.error !== undefined) {
        assert.equal(error.errorResponse.error, error.detail.error)
        assert.equal(error.statusCode, error.detail.status)
    }
    assert.match(error.message.split('\n')[0], /\S/)
    const shown = [error.message, error.stack, JSON.stringify(error), JSON.stringify(error.detail)]
    for (const one of shown) assert.doesNotMatch(one, /canary/i)
    return true
}

for (const file of readdirSync(join(FOLDER, 'credentials'))) {
    const name = file.replace('.json', '')
    each(`credentials/${name}`, vectors(`credentials/${name}`).cases, (one) => {
        logged.length = 0
        const error = one.build_error ?? one.error
        const fetch = () => inEngine('credentials', one)
        if (error) assert.throws(fetch, (thrown) => checkError(thrown, error))
        else {
            const found = fetch()
            for (const [key, value] of Object.entries(one.token)) assert.equal(found[key], value, key)
        }
        assert.doesNotMatch(logged.join('\n'), /canary/i)
    })
}

each("Entra's errors", vectors('entra-errors').cases, (one) => {
    assert.throws(
        () => inEngine('entra-errors', one),
        (thrown) => checkError(thrown, one.error),
    )
})

each("constructors' arguments", vectors('options-node').cases, (one) => {
    const { class: name, arguments: given = [], document, refused, ignored } = one
    const Class = identity[name]
    logged.length = 0
    const messages = []
    setLogger((level, message) => messages.push([level, message]))
    try {
        if (refused !== undefined) {
            assert.throws(
                () => new Class(...given),
                (error) => {
                    assert.equal(error.code, 'invalid_configuration')
                    assert.ok(error.message.includes(refused), error.message)
                    assert.doesNotMatch(error.message, /canary/)
                    return true
                },
            )
            return
        }
        const made = new Class(...given)
        const { handle } = sources.get(made)
        assert.deepEqual(JSON.parse(handle.document), document)
        assert.deepEqual(JSON.parse(handle.variables), one.variables ?? {})
        assert.equal(handle.caFile ?? undefined, one.ca_file)
        const told = messages.filter(([level, message]) => level === 'debug' && message.includes('without effect'))
        assert.equal(told.length, ignored ? 1 : 0)
        for (const option of ignored ?? []) assert.ok(told[0][1].includes(option), told[0][1])
    } finally {
        setLogger((_, message) => logged.push(message))
    }
})
