// The rules of tests/vectors, all of them, as Node sees them. What the package keeps beneath its surface is asked through
// the addon's feature `testing`.

import assert from 'node:assert/strict'
import {
    chmodSync,
    existsSync,
    mkdirSync,
    mkdtempSync,
    readdirSync,
    readFileSync,
    rmSync,
    writeFileSync,
} from 'node:fs'
import { constants, verify, X509Certificate } from 'node:crypto'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { beforeEach, test } from 'node:test'
import { AuthenticationError, entraTokenProvider, PgEntraError, setLogger, TokenProvider } from 'pgentra'
import * as identity from 'pgentra/identity'
import { ROOT } from './emulator.mjs'

const require = createRequire(import.meta.url)
const { native } = require('../lib/native.js')
const { calling, fromDocument } = require('../lib/errors.js')
const { Doors } = require('../lib/provider.js')
const { sources } = require('../lib/source.js')

const FOLDER = join(ROOT, 'tests/vectors')
const text = (file) => readFileSync(join(FOLDER, `${file}.json`), 'utf8')
const vectors = (file) => JSON.parse(text(file))
const each = (group, cases, run) =>
    test(`${group} (${cases.length})`, async (context) => {
        assert.ok(cases.length > 0)
        for (const [index, one] of cases.entries()) await context.test(one.name ?? `${index}`, () => run(one, index))
    })

test('no file of vectors is left out', () => {
    const known = ['claims', 'clouds', 'entra-errors', 'options-node', 'refusals', 'timing', 'tls']
    const others = /^options-(?!node)/
    const files = readdirSync(FOLDER).filter((name) => name.endsWith('.json') && !others.test(name))
    assert.deepEqual(files.sort(), known.map((name) => `${name}.json`).sort())
})

const claims = vectors('claims')
const joined = (token) =>
    typeof token === 'string'
        ? token
        : token.map((part) => (typeof part === 'string' ? part : part.repeat.repeat(part.times))).join('')
const tokenOf = (content) => {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
    return `${part({ typ: 'JWT', alg: 'RS256', kid: 'test' })}.${part(content)}.sig`
}

beforeEach(() => {
    delete process.env.PGUSER
    delete process.env.AZURE_AUTHORITY_HOST
})

each('claims', claims.tokens, async ({ token: parts, claims: decoded, expect }) => {
    const token = joined(parts)
    if (decoded) assert.deepEqual(JSON.parse(native.decodeJwt(token)), decoded)
    const isThere = ([, value]) => value !== null && !(Array.isArray(value) && value.length === 0)
    const read = Object.fromEntries(Object.entries(JSON.parse(native.readClaims(token))).filter(isThere))
    assert.deepEqual(read, expect)
    // Blanks around a token are taken off where it is decoded, not where it is sent.
    if (expect.role === undefined || token !== token.trim()) return
    const credential = new identity.StaticTokenCredential(token, 4e12)
    const login = await new Doors(credential, { management_lookup: false }).login()
    assert.deepEqual({ ...login }, { user: expect.role, password: token, source: expect.source })
})

each('tokens that cannot be read', [...claims.rejected, ...claims.large], ({ token: parts, error, role, ...rest }) => {
    const token = joined(parts)
    if (error === undefined) {
        const all = JSON.parse(native.decodeJwt(token))
        assert.deepEqual([all.upn, all.fill.length], [role, rest.fill_length])
        return
    }
    assert.equal(JSON.parse(native.readClaims(token)).error, error)
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

each('resource ids', claims.resource_ids, ({ xms_mirid, parse_principal_name, identity_name }) => {
    assert.equal(native.parsePrincipalName(xms_mirid), parse_principal_name)
    assert.equal(native.identityName(xms_mirid), identity_name)
})

each('missing names', claims.missing_names, ({ claims: content, management_tried, contains }) => {
    const told = native.explainMissingName(tokenOf(content), management_tried)
    for (const part of contains) assert.ok(told.includes(part), `${part} is not in: ${told}`)
})

each('statements that create a role', claims.create_role, ({ role, oid, type, statement }) => {
    assert.equal(native.createRoleStatement(role, oid, type), statement)
})

const clouds = vectors('clouds')
each('clouds', clouds.cases, ({ inputs, error, expect }) => {
    const { warning, message, ...found } = JSON.parse(native.resolveCloud(JSON.stringify(inputs)))
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

each('clouds, through the doors', clouds.cases, async ({ inputs, error, expect }) => {
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

each('resources', clouds.resources, ({ scope, resource }) => assert.equal(native.resourceOf(scope), resource))

const refusals = vectors('refusals')
each('refusals', refusals.refusals, ({ message, sqlstate, cause, retry }) => {
    assert.equal(native.isRetriable(sqlstate, message), retry)
    assert.equal(native.refusalCause(sqlstate, message), cause)
})

each('explanations', refusals.explanations, ({ cause, role, role_source, principal, contains, lacks = [] }) => {
    const { sqlstate, message } = refusals.refusals.find((one) => one.cause === cause)
    const to = principal === null ? undefined : JSON.stringify(principal)
    const told = native.explainRefusalTo(sqlstate, message, role, role_source, to)
    for (const part of contains) assert.ok(told.includes(part), `${part} is not in: ${told}`)
    for (const part of lacks) assert.ok(!told.includes(part), `${part} is in: ${told}`)
    assert.equal(told === '', cause === 'not_a_login')
})

each('tls', vectors('tls').cases, ({ sslmode, hosts, allow_insecure: allow = false, result }) => {
    const work = () => calling(() => native.secureSslmode(sslmode, hosts, allow))
    if (result?.error) assert.throws(work, { code: result.error })
    else assert.equal(work(), result)
})

test('tls, as the password function applies it', async () => {
    const password = entraTokenProvider(new identity.StaticTokenCredential('t', 4e12))
    for (const { sslmode, hosts, allow_insecure: allow, result } of vectors('tls').cases) {
        // pg knows one host, and no mode but on and off.
        if (hosts.length !== 1 || allow || !['disable', null].includes(sslmode) || hosts[0].includes('/')) continue
        const connection = { host: hosts[0], user: 'u', ssl: false }
        if (result === null) assert.equal(await password(connection), 't', hosts[0])
        else await assert.rejects(password(connection), { code: 'insecure_transport' }, hosts[0])
        assert.equal(await password({ ...connection, ssl: true }), 't')
    }
})

const timing = vectors('timing')
each('timing', timing.cases, (one) => {
    const { wall, mono } = timing.start_ms
    const run = new native.TimingCase(JSON.stringify(one), wall, mono)
    for (const [index, step] of one.steps.entries()) {
        const place = `step ${index + 1} at ${step.at} s`
        assert.deepEqual(JSON.parse(run.step(JSON.stringify(step))), step.expect ?? null, place)
    }
})

each('refresh points', timing.refresh_points, ({ expires_in, refresh_in, from, to }) => {
    const { wall, mono } = timing.start_ms
    for (const [jitter, refresh] of [
        [1, from],
        [0, to],
    ]) {
        const run = new native.TimingCase(JSON.stringify({ name: '', rule: '', jitter, steps: [] }), wall, mono)
        const take = (step) => JSON.parse(run.step(JSON.stringify({ at: 0, ...step })))
        take({ op: 'ask' })
        take({ op: 'settle', ticket: 't1', token: { bytes: 'A', expires_in, refresh_in } })
        assert.deepEqual(take({ op: 'points', expect: { refresh: 0 } }), { refresh })
    }
})

// What the engine logs while a credential of the vectors fetches.
const logged = []
setLogger((_, message) => logged.push(message))

/** An answer of the vectors as the addon takes it. */
function answerOf({ response, failure }) {
    if (response === undefined) return { failure }
    const { status, headers = {}, body = '', repeated, date_offset: offset } = response
    return {
        status,
        headers: {
            ...headers,
            ...(offset !== undefined && { date: new Date(Date.now() + offset * 1000).toUTCString() }),
        },
        body: repeated ? repeated[0].repeat(repeated[1]) : typeof body === 'string' ? body : JSON.stringify(body),
    }
}

function checkError({ document, definite }, expected) {
    const error = fromDocument(document)
    assert.ok(error instanceof PgEntraError)
    assert.equal(error.code, expected.kind, error.message)
    assert.equal(definite, expected.definite ?? false)
    assert.equal(error.aadsts, expected.aadsts)
    for (const part of expected.text ?? [])
        assert.ok(error.message.includes(part), `${part} is not in ${error.message}`)
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
    for (const one of shown) assert.doesNotMatch(one, /planted/i)
}

const certificates = (name) => readFileSync(join(FOLDER, 'certificates', name))

/** The base64 of a certificate in a PEM file: `NAME` or `NAME#n`. */
function certificate(name) {
    const [file, index = '0'] = name.split('#')
    const block = certificates(file).toString().split('-----BEGIN CERTIFICATE-----')[1 + Number(index)]
    return block.split('-----END')[0].replaceAll(/\s/g, '')
}

/** Puts in what `{text:NAME}` and its like stand for. */
function filledIn(document) {
    return document.replaceAll(/\{(text|base64|certificate):([^}]+)\}/g, (_, kind, name) => {
        if (kind === 'certificate') return certificate(name)
        if (kind === 'base64') return certificates(name).toString('base64')
        return JSON.stringify(certificates(name).toString()).slice(1, -1)
    })
}

function contentOf(content) {
    if (typeof content === 'string') return content
    return content.fixture === undefined ? Buffer.alloc(content.zeros) : certificates(content.fixture)
}

/** A form with what is expected in the place of each assertion that its certificate's key has signed. */
function withoutSignatures(form, wanted) {
    const fields = Object.entries(wanted).filter(([, value]) => typeof value === 'object')
    return {
        ...form,
        ...Object.fromEntries(fields.map(([name, value]) => [name, checkedAssertion(form[name], value)])),
    }
}

function checkedAssertion(jwt, wanted) {
    const [header, content, signature] = jwt.split('.')
    const read = (part) => JSON.parse(Buffer.from(part, 'base64url').toString())
    const { jti, ...found } = read(content)
    assert.match(jti, /^[0-9a-f-]{36}$/)
    const now = Date.now() / 1000
    for (const moment of ['nbf', 'exp']) {
        assert.ok(Math.abs(found[moment] - now - wanted.claims[moment]) <= 30, moment)
        found[moment] = wanted.claims[moment]
    }
    const { publicKey } = new X509Certificate(Buffer.from(certificate(wanted.signed_by), 'base64'))
    const signed = Buffer.from(`${header}.${content}`)
    const padding = { key: publicKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
    assert.ok(verify('sha256', signed, padding, Buffer.from(signature, 'base64url')), 'signature')
    return { signed_by: wanted.signed_by, header: read(header), claims: found }
}

/** The arguments of a tool; of an encoded script the first line. */
function readable(given) {
    if (given.at(-2) !== '-EncodedCommand') return given
    return [...given.slice(0, -1), Buffer.from(given.at(-1), 'base64').toString('utf16le').split('\n')[0]]
}

/** Lets a credential of the vectors fetch, and compares all that it sent and what came of it. */
function checkFetch(one) {
    const folder = mkdtempSync(join(tmpdir(), 'pgentra-vectors-'))
    try {
        const there = JSON.parse(filledIn(JSON.stringify(one).replaceAll('{dir}', folder)))
        mkdirSync(join(folder, 'bin'))
        for (const [name, content] of Object.entries(there.files ?? {})) {
            mkdirSync(dirname(join(folder, name)), { recursive: true })
            writeFileSync(join(folder, name), contentOf(content))
        }
        for (const [name, tool] of Object.entries(there.tools ?? {})) writeTool(folder, name, tool)
        const exchanges = (there.exchanges ?? []).flatMap((one) => Array(one.times ?? 1).fill(one))
        const { request = {}, seconds } = there
        const case_ = {
            credential: there.credential,
            // An empty folder, so that no tool of this machine is found.
            environment: { PATH: join(folder, 'bin'), ...there.environment },
            answers: exchanges.map(answerOf),
            request: { scope: 'https://ossrdbms-aad.database.windows.net/.default', ...request },
            has_fallback: there.has_fallback,
            fetches: there.fetches,
            paused: there.tools === undefined,
        }
        logged.length = 0
        const { refused, sent, outcomes } = JSON.parse(native.fetchCanned(JSON.stringify(case_)))
        if (there.build_error) {
            checkError(refused, there.build_error)
            return
        }
        assert.deepEqual(
            sent.map(({ timeout, form, ...rest }, index) => ({
                ...rest,
                form: withoutSignatures(form, exchanges[index]?.request.form ?? {}),
                ...(exchanges[index]?.request.timeout !== undefined && { timeout }),
            })),
            exchanges.map(({ request: wanted }) => ({ headers: {}, form: {}, trust: null, ...wanted })),
        )
        assert.equal(outcomes.length, there.fetches ?? 1)
        for (const { token, error, within_bound, seconds: took } of outcomes) {
            assert.ok(within_bound)
            if (seconds) assert.ok(seconds[0] <= took && took <= seconds[1], `${took} s`)
            if (there.error) checkError(error, there.error)
            else for (const [key, value] of Object.entries(there.token)) assert.equal(token?.[key], value, key)
        }
        const runs = join(folder, 'runs')
        const calls = existsSync(runs) ? readFileSync(runs, 'utf8').trimEnd().split('\n') : []
        assert.deepEqual(
            calls.map((line) => readable(line.split('\x1f').slice(0, -1))),
            there.runs ?? [],
        )
        assert.doesNotMatch(logged.join('\n'), /planted/i)
    } finally {
        rmSync(folder, { recursive: true })
    }
}

/** An executable that says what the vectors tell, and remembers its arguments. */
function writeTool(folder, name, { stdout = '', stderr = '', exit = 0 }) {
    const quoted = (value) => `'${value.replaceAll("'", `'\\''`)}'`
    const runs = quoted(join(folder, 'runs'))
    const lines = [
        '#!/bin/sh',
        `for argument in "$@"; do printf '%s\\037' "$argument" >> ${runs}; done`,
        `printf '\\n' >> ${runs}`,
        `printf %s ${quoted(stdout)}`,
        `printf %s ${quoted(stderr)} >&2`,
        `exit ${exit}`,
    ]
    writeFileSync(join(folder, 'bin', name), lines.join('\n'))
    chmodSync(join(folder, 'bin', name), 0o755)
}

for (const file of readdirSync(join(FOLDER, 'credentials'))) {
    const name = file.replace('.json', '')
    each(`credentials/${name}`, vectors(`credentials/${name}`).cases, checkFetch)
}

each("Entra's errors", vectors('entra-errors').cases, ({ response, error }) => {
    const credential = {
        type: 'client_secret',
        tenant_id: 'contoso.com',
        client_id: 'c1',
        client_secret: 'Planted&secret=1',
    }
    const answers = [answerOf({ response })]
    const case_ = { credential, answers, request: { scope: 'https://r/.default' }, has_fallback: true, paused: true }
    const { outcomes } = JSON.parse(native.fetchCanned(JSON.stringify(case_)))
    checkError(outcomes[0].error, error)
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
                    assert.doesNotMatch(error.message, /planted/)
                    return true
                },
            )
            return
        }
        const made = new Class(...given)
        assert.deepEqual(sources.get(made).document, document)
        const told = messages.filter(([level, message]) => level === 'debug' && message.includes('without effect'))
        assert.equal(told.length, ignored ? 1 : 0)
        for (const option of ignored ?? []) assert.ok(told[0][1].includes(option), told[0][1])
    } finally {
        setLogger((_, message) => logged.push(message))
    }
})
