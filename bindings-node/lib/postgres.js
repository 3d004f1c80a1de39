'use strict'

// postgres.js. It does not catch the rejection of a password function, which would end the process, and it does not read
// PGSSLMODE. Therefore the token is requested before the connection is opened, and TLS is configured explicitly.

const {
  defined,
  readConfig,
  portOf,
  requireTls,
  sslmodeOf,
  textOf,
  withoutBrackets,
  wrongType,
  TLS_SETTINGS,
} = require('./connection.js')
const { loginOf, passwordUses } = require('./login.js')
const { failedSocket, openSession, openSocket } = require('./postgres_login.js')

/** @import { ConnectionOptions, CredentialArgument, EntraPassword } from './index.js' */
/** @import { Text } from './connection.js' */
/** @import { Target } from './postgres_login.js' */

/** The parameters of a URL that are options of postgres.js. All other parameters are the server's. */
const OPTIONS = [
  'max',
  'sslnegotiation',
  'idle_timeout',
  'connect_timeout',
  'max_lifetime',
  'max_pipeline',
  'backoff',
  'keep_alive',
  'prepare',
  'debug',
  'fetch_types',
  'publications',
  'target_session_attrs',
]

/** The names that postgres.js accepts for an option, in the order of precedence. */
const NAMES = {
  host: ['hostname', 'host'],
  database: ['database', 'db'],
  user: ['user', 'username'],
  password: ['pass', 'password'],
}

/** The texts that postgres.js accepts as `ssl`. */
const SSL_WORDS = ['require', 'allow', 'prefer', 'verify-full']

/**
 * Returns the options of postgres.js with user, password function and TLS.
 *
 * @param {object | string | URL} [config]
 * @param {CredentialArgument} [credential]
 * @param {ConnectionOptions} [options]
 */
async function entraPostgresConfig(config = {}, credential, options = {}) {
  const { given, text } = readConfig(config)
  const { settings, hosts, ports, rest } = readOptions(given)
  const login = await loginOf({ ...settings, ...defined({ host: hosts?.join(',') }) }, text, credential, options)
  const all = login.text
  const { database = all.dbname, path, ssl } = /** @type {Record<string, any>} */ (settings)
  const server = path ? { path } : serverOf(hosts ?? list(all.host), ports ?? list(all.port)?.map(portOf))
  const connection = { ...parametersOf(all), .../** @type {object} */ (rest.connection ?? {}) }
  const made = {
    ...optionsOf(all),
    ...rest,
    ...server,
    ...defined({ database, user: login.user, password: login.password, ssl: login.ssl }),
    ...(Object.keys(connection).length > 0 && { connection }),
  }
  // Its texts verify less than pg's. An explicit one is kept.
  if (login.plan.sslmode === null && typeof ssl === 'string' && SSL_WORDS.includes(ssl)) made.ssl = ssl
  const use = typeof login.password === 'function' ? passwordUses.get(login.password) : undefined
  if (use === undefined) return made
  const { allowInsecure } = use
  const { invalidate, stats } = /** @type {EntraPassword} */ (login.password)
  const { ssl: tls = sslOfEnvironment(), ...others } = made
  /** @type {string | undefined} */
  let latest
  let next = 0
  return {
    ...others,
    // Called only if the server requests another authentication, or if the application sets `ssl`.
    password: Object.assign(async () => latest, { invalidate, stats }),
    /** @param {Target & { ssl?: unknown }} target */
    async socket(target) {
      try {
        // If the application sets `ssl` itself, postgres.js uses it, and the login cannot be retried.
        const isOwnTls = Boolean(target.ssl)
        requireTls({ ...target, ssl: target.ssl || tls }, undefined, allowInsecure)
        const limit = Number(target.connect_timeout) * 1000 || 0
        const started = performance.now()
        latest = await use.client.token(limit > 0 ? { limit } : {})
        const session = {
          target,
          ssl: isOwnTls ? false : tls,
          // To find a server with these attributes, postgres.js connects to one after the other.
          first: target.target_session_attrs ? next : 0,
          limit: limit > 0 ? Math.max(limit - (performance.now() - started), 1) : 0,
        }
        const { socket, index } = await (isOwnTls ? openSocket(session) : openSession(session, use, latest))
        next = index + 1
        return socket
      } catch (error) {
        // If this function rejected, postgres.js would never use this connection of its pool again.
        return failedSocket(target, /** @type {Error} */ (error))
      }
    },
  }
}

/**
 * Splits the options into the settings by pg's names, the servers as lists, and the rest.
 *
 * @param {Record<string, unknown>} given
 */
function readOptions(given) {
  const rest = { ...given }
  /** @type {Record<string, unknown>} */
  const settings = defined({ ssl: given.ssl ?? undefined, port: undefined })
  for (const [name, names] of Object.entries(NAMES)) {
    for (const spelled of names) {
      settings[name] ??= given[spelled] || undefined
      delete rest[spelled]
    }
  }
  for (const name of ['port', 'ssl', 'path']) delete rest[name]
  const { host } = settings
  const path = textOf('path', given.path)
  delete settings.host
  // A Unix socket is local, also if its path does not begin with a slash.
  if (path !== undefined) return { settings: { ...settings, path, host: '/' }, rest }
  /** @type {any[] | undefined} */
  const all = Array.isArray(host) ? host : list(textOf('host', host))
  const hosts = all?.map((one) => /** @type {string} */ (withoutBrackets(one)))
  if (hosts?.some((one) => typeof one !== 'string')) throw wrongType('host', 'a string or a list of strings', hosts)
  if (hosts === undefined || hosts.length === 0) return { settings, rest, ports: portsOf(given.port) }
  // `host: 'a:5433,b'`. A name with more than one colon is an IPv6 address.
  const servers = hosts.map((one) => /^([^:]*|\[.*\]):(\d+)$/.exec(one)?.slice(1) ?? [one, undefined])
  const ports = portsOf(given.port)
  return {
    settings,
    rest,
    hosts: servers.map(([name]) => String(withoutBrackets(name))),
    ports: servers.some(([, port]) => port !== undefined)
      ? servers.map(([, port], index) => portOf(port) ?? ports?.[index] ?? ports?.[0])
      : ports,
  }
}

function portsOf(/** @type {unknown} */ port) {
  const ports = (Array.isArray(port) ? port : [port]).map(portOf)
  return ports.some((one) => one !== undefined) ? ports : undefined
}

/** @returns {string[] | undefined} */
function list(/** @type {string | undefined} */ text) {
  return text ? text.split(',').map((one) => one.trim()) : undefined
}

/**
 * Returns the servers as lists, because postgres.js splits a text at colons. If it reads the host from the environment, only
 * the port is returned.
 *
 * @param {string[] | undefined} hosts
 * @param {(number | undefined)[] | undefined} ports
 */
function serverOf(hosts, ports) {
  const known = ports?.filter((port) => port !== undefined)
  if (hosts === undefined) return defined({ port: known?.[0] })
  const fallback = (ports?.length === 1 ? ports[0] : undefined) ?? portOf(process.env.PGPORT) ?? 5432
  const all = hosts.map((_, index) => ports?.[index] ?? fallback)
  // postgres.js appends the name of the socket to a folder.
  return hosts.length === 1 && hosts[0]?.startsWith('/') ? { host: hosts[0], port: all[0] } : { host: hosts, port: all }
}

/** Returns the options of postgres.js that a URL sets. */
function optionsOf(/** @type {Text} */ text) {
  const value = (/** @type {string} */ given) => {
    if (given === 'true' || given === 'false') return given === 'true'
    return given !== '' && Number.isFinite(Number(given)) ? Number(given) : given
  }
  const found = Object.entries(text).filter(([name]) => OPTIONS.includes(name))
  return Object.fromEntries(found.map(([name, given]) => [name, value(given)]))
}

/** Returns the parameters of a URL for the server, such as application_name. */
function parametersOf(/** @type {Text} */ text) {
  const others = ['host', 'port', 'dbname', 'user', 'password', ...TLS_SETTINGS, ...OPTIONS]
  return Object.fromEntries(Object.entries(text).filter(([name]) => !others.includes(name)))
}

/** Returns the `ssl` of PGSSLMODE as pg reads it. */
function sslOfEnvironment() {
  const { PGSSLMODE: text } = process.env
  const mode = text ? sslmodeOf(text, 'PGSSLMODE') : 'disable'
  if (mode === 'disable' || mode === 'allow') return false
  return mode === 'no-verify' ? { rejectUnauthorized: false } : true
}

module.exports = { entraPostgresConfig }
