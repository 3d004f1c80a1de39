// Starts the emulator as a child process, and calls its control endpoint: see emulator/README.md.

import { spawn } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export const PACKAGE = resolve(dirname(fileURLToPath(import.meta.url)), '..')
export const ROOT = resolve(PACKAGE, '..')

/** Variables that a program under test must not inherit, because they change its identity or its server. */
const EXCLUDED =
    /^(AZURE_|IDENTITY_|MSI_|IMDS_|PG(?!ENTRA_)|SYSTEM_OIDC|SSL_CERT_|NODE_EXTRA_CA|(HTTP|HTTPS|ALL)_PROXY|DEBUG$|NODE_TEST)/i

const START_LIMIT_MS = 60_000

export class Emulator {
    #process
    #control
    #names = 0

    constructor(process, addresses) {
        this.#process = process
        this.#control = addresses.control
        this.tenantId = addresses.tenant_id
        this.authorityHost = addresses.authority_host
        this.appService = addresses.app_service
        this.hosts = addresses.hosts
        this.bundleFile = addresses.bundle_file
        this.postgresReport = addresses.postgres
        this.ca = readFileSync(addresses.ca_file, 'utf8')
    }

    static async start(...options) {
        const child = spawn(findEmulator(), options, { stdio: ['ignore', 'pipe', 'inherit'] })
        const watchdog = setTimeout(() => child.kill('SIGKILL'), START_LIMIT_MS)
        for await (const line of createInterface(child.stdout)) {
            clearTimeout(watchdog)
            child.unref()
            child.stdout.destroy()
            return new Emulator(child, JSON.parse(line))
        }
        clearTimeout(watchdog)
        throw new Error('the emulator did not start')
    }

    stop() {
        this.#process.kill('SIGTERM')
    }

    async call(method, path, body) {
        const response = await fetch(this.#control + path, { method, body: body && JSON.stringify(body) })
        const result = await response.json()
        if (!response.ok) throw new Error(`${method} ${path}: ${result.error}`)
        return result
    }

    /** Creates a principal and a role of its name, for which no token is cached. */
    async addPrincipal(kind = 'user_assigned', settings = {}) {
        const name = `${kind.replace('_', '-')}-${process.pid}-${++this.#names}`
        const secret = kind === 'service_principal' ? { client_secret: `secret-of-${name}` } : {}
        const [made] = await this.call('POST', '/principals', [{ name, kind, ...secret, ...settings }])
        return { name, oid: made.oid, appid: made.appid, secret: made.client_secret }
    }

    mint(principal, settings = {}) {
        return this.call('POST', '/mint', { principal, ...settings })
    }

    /** Returns a folder for PATH with the tools az, azd and pwsh, in which the user is signed in. */
    async tools(user) {
        return (await this.call('POST', '/tools', { principal: user.name })).path
    }

    async addFault(fault) {
        return (await this.call('POST', '/faults', fault)).ids[0]
    }

    clearFault(id) {
        return this.call('DELETE', `/faults/${id}`)
    }

    setTokens(settings) {
        return this.call('PATCH', '/tokens', settings)
    }

    controlPostgres(settings) {
        return this.call('POST', '/postgres', settings)
    }

    async reset() {
        await this.call('DELETE', '/faults')
        await this.call('DELETE', '/requests')
        const settings = await this.call('GET', '/tokens')
        await this.setTokens(Object.fromEntries(Object.keys(settings).map((key) => [key, null])))
        await this.controlPostgres({ reset: true })
    }

    /** Returns the requests for a principal's database tokens. */
    async databaseRequests(principal) {
        const { requests } = await this.call('GET', '/requests')
        return requests.filter((one) => one.principal === principal.name && one.resource?.includes('ossrdbms'))
    }

    report() {
        return this.call('GET', '/postgres')
    }

    /** pg's options for the emulator's PostgreSQL server, with TLS verified. */
    get target() {
        const { host, port, database } = this.postgresReport
        return { host, port, database, ssl: { ca: this.ca } }
    }

    /** Returns the environment of a program that uses the emulator, as the emulator's `--exec` sets it. */
    environment(base = process.env) {
        const clean = Object.fromEntries(Object.entries(base).filter(([name]) => !EXCLUDED.test(name)))
        return {
            ...clean,
            IDENTITY_ENDPOINT: this.appService.endpoint,
            IDENTITY_HEADER: this.appService.header,
            SSL_CERT_FILE: this.bundleFile,
            NODE_EXTRA_CA_CERTS: this.bundleFile,
            NO_PROXY: 'localhost,127.0.0.1,::1',
        }
    }

    /** Returns this environment with the PostgreSQL server. */
    programEnvironment() {
        const { host, port, database } = this.postgresReport
        return {
            ...this.environment(),
            PGHOST: host,
            PGPORT: String(port),
            PGDATABASE: database,
            PGSSLMODE: 'verify-full',
        }
    }

    /** Sets the environment of this process. */
    adopt() {
        const wanted = this.environment()
        for (const name of Object.keys(process.env)) if (!(name in wanted)) delete process.env[name]
        Object.assign(process.env, wanted)
    }
}

export function findEmulator() {
    if (process.env.PGENTRA_EMULATOR) return process.env.PGENTRA_EMULATOR
    const target = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target')
    const built = ['release', 'debug'].map((profile) => join(target, profile, 'pgentra-emulator')).filter(existsSync)
    if (built.length === 0)
        throw new Error('the emulator is not built: run `cargo build -p pgentra-emulator`, or set PGENTRA_EMULATOR')
    return built.sort((one, other) => statSync(other).mtimeMs - statSync(one).mtimeMs)[0]
}

/** Runs a program with a time limit; resolves to its status and output. */
export function run(command, args, { limit = 60_000, ...options } = {}) {
    return new Promise((resolve) => {
        const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
        let output = ''
        child.stdout.on('data', (data) => (output += data))
        child.stderr.on('data', (data) => (output += data))
        const watchdog = setTimeout(() => child.kill('SIGKILL'), limit)
        child.on('close', (status, signal) => {
            clearTimeout(watchdog)
            resolve({ status: status ?? signal, output })
        })
    })
}
