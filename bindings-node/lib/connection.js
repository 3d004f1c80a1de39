'use strict'

// Reads the connection settings that a driver gets. Core decides how the connection logs in.

const { native } = require('./addon.js')
const { callNative, errorOf, fromDocument } = require('./errors.js')
const { isCredential, typeName } = require('./credential_source.js')

/** @import { ConnectionOptions, EntraPassword } from './index.js' */

/**
 * A password in pg's options: a function of the application or of pgentra.
 *
 * @typedef {(() => string | Promise<string>) & Partial<Pick<EntraPassword, 'invalidate' | 'stats'>>} Password
 * @typedef {boolean | object | string} Ssl
 * @typedef {{
 *   host?: string, port?: number | string, database?: string, user?: string, password?: string | Password | null,
 *   ssl?: Ssl | null, connectionTimeoutMillis?: unknown,
 * }} Settings the options of pg that are read
 * @typedef {Record<string, string>} Text settings by libpq's keywords
 * @typedef {{
 *   uses_entra: boolean, user: string | null, user_source: string | null, drops_user: boolean, sslmode: string | null,
 *   host: string | null, settings: Text, credential: Record<string, unknown> | null, warnings: string[],
 * }} ConnectionPlan see ConnectionPlan in core
 */

/** The variables that pg reads. postgres.js does not read PGSSLMODE. */
const VARIABLES = {
  host: 'PGHOST',
  port: 'PGPORT',
  dbname: 'PGDATABASE',
  sslmode: 'PGSSLMODE',
  connect_timeout: 'PGCONNECT_TIMEOUT',
}

/** Settings of libpq that no Node driver reads: they must not affect a decision. */
const NOT_IN_NODE = ['hostaddr', 'service', 'servicefile', 'passfile']

/** The parameters of a URL that configure TLS. */
const TLS_SETTINGS = ['sslmode', 'sslrootcert', 'sslcert', 'sslkey', 'uselibpqcompat']

/**
 * Splits a driver's options into their own settings and those of their connection string. Rejects other values.
 *
 * @param {unknown} config
 * @returns {{ given: Record<string, unknown>, text: Text }}
 */
function readConfig(config) {
  if (typeof config === 'string' || isUrl(config)) config = { connectionString: config }
  if (isCredential(config)) {
    throw errorOf(
      'invalid_connection',
      "config: expected the connection's settings, got a credential",
      'Pass the credential as the second argument: entraConfig({ host, database }, credential).',
    )
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config) || 'then' in config) {
    const type = config === null || typeof config !== 'object' ? typeName(config) : 'a list or a promise'
    throw errorOf('invalid_connection', `config: expected an object or a connection string, got ${type}`)
  }
  const { connectionString, ...given } = /** @type {Record<string, unknown>} */ (config)
  given.host = withoutBrackets(given.host)
  // pg's Pool makes it non-enumerable.
  if ('password' in config) given.password = config.password
  return { given, text: readText(connectionString) }
}

/** Returns an IPv6 address without the brackets that it has in a URL. */
function withoutBrackets(/** @type {unknown} */ host) {
  return typeof host === 'string' ? host.replace(/^\[([^[\]]*:[^[\]]*)\]$/, '$1') : host
}

/**
 * Recognises a URL by its properties, because each realm has its own class.
 *
 * @param {unknown} value
 * @returns {value is URL}
 */
function isUrl(value) {
  if (typeof value !== 'object' || value === null || !('searchParams' in value)) return false
  const { href, protocol } = /** @type {{ href?: unknown, protocol?: unknown }} */ (value)
  return typeof href === 'string' && typeof protocol === 'string'
}

/** Parses a connection string. */
function readText(/** @type {unknown} */ text) {
  if (text === undefined || text === null) return {}
  if (typeof text !== 'string' && !isUrl(text)) throw wrongType('connectionString', 'a string', text)
  /** @type {Text} */
  const settings = JSON.parse(callNative(() => native.connectionSettings(String(text), 'url')))
  for (const name of NOT_IN_NODE) delete settings[name]
  if (settings.sslmode) settings.sslmode = sslmodeOf(settings.sslmode, 'sslmode of the connection string')
  return settings
}

/**
 * @param {string} name
 * @param {string} expected
 * @param {unknown} value
 */
function wrongType(name, expected, value) {
  return errorOf('invalid_connection', `${name}: expected ${expected}, got ${typeName(value)}`)
}

/**
 * Returns a setting that is a string. An empty string and `null` count as not given.
 *
 * @param {string} name
 * @param {unknown} value
 */
function textOf(name, value) {
  if (value === undefined || value === null || value === '') return undefined
  if (typeof value !== 'string') throw wrongType(name, 'a string', value)
  return value
}

/**
 * Returns an object without the properties that are not set.
 *
 * @template {Record<string, unknown>} Values
 * @param {Values} values
 * @returns {Partial<Values>}
 */
function defined(values) {
  return /** @type {Partial<Values>} */ (
    Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== ''))
  )
}

function portOf(/** @type {unknown} */ value) {
  if (value === undefined || value === null || value === '') return undefined
  const port = typeof value === 'string' ? Number(value) : value
  if (typeof port === 'number' && Number.isInteger(port) && port >= 0 && port < 65536) return port
  if (typeof value !== 'number' && typeof value !== 'string') throw wrongType('port', 'a number', value)
  const got = typeof value === 'string' && Number.isNaN(port) ? 'another text' : 'another number'
  throw errorOf('invalid_connection', `port: expected a number from 0 to 65535, got ${got}`)
}

/**
 * @param {string} text
 * @param {string} name
 */
function sslmodeOf(text, name) {
  const mode = native.sslmodeOfText(text)
  if (mode !== null && mode !== undefined) return mode
  const options = name === 'ssl' ? 'true, false, options of tls.connect, or ' : ''
  throw errorOf(
    'invalid_connection',
    `${name}: expected ${options}a mode such as require or verify-full; got another text`,
    name === 'ssl' ? 'Use `ssl: true`, which verifies the certificate of the server.' : undefined,
  )
}

/** Returns the `sslmode` of an `ssl` setting; `undefined` if the setting has no effect. */
function modeOf(/** @type {unknown} */ ssl) {
  if (ssl === undefined || ssl === null || ssl === '') return undefined
  if (typeof ssl === 'boolean') return ssl ? 'verify-full' : 'disable'
  if (typeof ssl === 'string') return sslmodeOf(ssl, 'ssl')
  if (typeof ssl !== 'object') throw wrongType('ssl', 'true, false or options of tls.connect', ssl)
  return /** @type {{ rejectUnauthorized?: unknown }} */ (ssl).rejectUnauthorized === false ? 'require' : 'verify-full'
}

/**
 * Returns the `ssl` of a mode as pg reads it: pg verifies the server's certificate in every mode but `no-verify`.
 *
 * @param {string} mode
 * @param {Text} [text] the settings that contain the mode
 */
function sslOfMode(mode, text = {}) {
  if (mode === 'disable' || mode === 'allow') return false
  if (mode === 'no-verify') return { rejectUnauthorized: false }
  // With this parameter, pg reads the modes as libpq does: some of them verify less.
  if (text.uselibpqcompat !== 'true' || mode === 'verify-full') return true
  if (mode === 'verify-ca' || (mode === 'require' && text.sslrootcert)) return { checkServerIdentity() {} }
  return { rejectUnauthorized: false }
}

/**
 * Returns the `ssl` to connect with, as pg expects it; `undefined` if the driver decides.
 *
 * @param {Pick<ConnectionPlan, 'sslmode'> & Partial<ConnectionPlan>} plan
 * @param {unknown} given the setting in the options
 * @param {Text} text the settings of the connection string or of Service Connector
 * @returns {Ssl | undefined}
 */
function sslFor(plan, given, text) {
  const files = filesOf(text)
  const ssl = sslWithout(plan, given, text) ?? (files && true)
  if (!files || !ssl || typeof ssl === 'string') return ssl
  return { ...files, .../** @type {object} */ (ssl === true ? {} : ssl) }
}

/**
 * @param {Pick<ConnectionPlan, 'sslmode'> & Partial<ConnectionPlan>} plan
 * @param {unknown} given
 * @param {Text} text
 * @returns {Ssl | undefined}
 */
function sslWithout(plan, given, text) {
  if (plan.sslmode !== null) return true
  if (typeof given === 'string' && given !== '') return sslOfMode(sslmodeOf(given, 'ssl'))
  if (given !== undefined && given !== null && given !== '') return /** @type {Ssl} */ (given)
  if (text.sslmode) return sslOfMode(text.sslmode, text)
  const { PGSSLMODE: mode } = process.env
  if (!plan.uses_entra) return undefined
  // pg compares the exact text, and uses no TLS if it does not know the mode.
  return mode && native.sslmodeOfText(mode) !== mode ? sslOfMode(sslmodeOf(mode, 'PGSSLMODE')) : undefined
}

/** Reads the certificate and key files that a URL names. */
function filesOf(/** @type {Text} */ text) {
  const paths = Object.entries({ ca: text.sslrootcert, cert: text.sslcert, key: text.sslkey })
  const files = paths.filter(([, file]) => file && file !== 'system')
  if (files.length === 0) return undefined
  const { readFileSync } = require('node:fs')
  return Object.fromEntries(
    files.map(([name, file]) => {
      try {
        return [name, readFileSync(/** @type {string} */ (file), 'utf8')]
      } catch (error) {
        const { code } = /** @type {NodeJS.ErrnoException} */ (error)
        throw errorOf('invalid_connection', `the ${name} file of the connection string could not be read (${code})`)
      }
    }),
  )
}

/**
 * Returns core's decision how a connection logs in.
 *
 * @param {Record<string, unknown>} settings by libpq's keywords
 * @param {ConnectionOptions} options
 * @param {{ hasCredential?: boolean, replacesLogin?: boolean, variables?: Record<string, string> }} [more]
 * @returns {ConnectionPlan}
 */
function connectionPlan(
  settings,
  options,
  { hasCredential = false, replacesLogin = false, variables = VARIABLES } = {},
) {
  const { serviceConnector = false } = options
  const request = {
    arguments: settings,
    variables,
    service_files: false,
    environment: environmentOf(Boolean(serviceConnector)),
    service_connector: serviceConnector,
    has_credential: hasCredential,
    require_entra: options.requireEntra ?? false,
    ignore_password: options.ignorePassword ?? false,
    allow_insecure_transport: options.allowInsecureTransport ?? false,
    replace_login: replacesLogin,
    verifies_certificates: true,
    spelling: 'camel',
  }
  return JSON.parse(callNative(() => native.connectionPlan(JSON.stringify(request)), planError))
}

function planError(/** @type {string} */ document) {
  const error = fromDocument(document)
  return error.code === 'insecure_transport' ? insecureTransport(error.message.replace(/\. .*/s, '')) : error
}

function insecureTransport(/** @type {string} */ what) {
  return errorOf(
    'insecure_transport',
    what,
    'Enable TLS with `ssl: true`, or with sslmode=verify-full in a URL. To send tokens without TLS in a network that you trust, ' +
      'pass `allowInsecureTransport: true`.',
  )
}

/** @type {string[] | undefined} */
let variables

/** Returns the variables that core reads; all variables if Service Connector is used. */
function environmentOf(/** @type {boolean} */ isComplete) {
  if (isComplete) return { ...process.env }
  variables ??= native.connectionVariables()
  return Object.fromEntries(
    variables.map((name) => [name, process.env[name]]).filter(([, value]) => value !== undefined),
  )
}

/**
 * Throws `insecure_transport` if the driver's settings have no TLS and the server is not local. A setting that cannot be read
 * counts as remote and without TLS.
 *
 * @param {unknown} connection what the driver passes: pg its parameters or its client, postgres.js its options
 * @param {unknown} caller the `this` of the call
 * @param {boolean | undefined} allowInsecure
 */
function requireTls(connection, caller, allowInsecure) {
  if (allowInsecure === true) return
  const { ssl, host } = readConnection(connection)
  if (isTls(ssl)) return
  const hosts = hostOf(host, connection, caller)
  const request = {
    arguments: { sslmode: 'disable', ...(hosts !== undefined && { host: hosts }) },
    variables: {},
    service_files: false,
    unknown_server: true,
    spelling: 'camel',
  }
  callNative(
    () => native.connectionPlan(JSON.stringify(request)),
    (document) => {
      const error = planError(document)
      return hosts === undefined ? unknownConnection() : error
    },
  )
}

/** Parameters of a connection string that must not be repeated in a URL, where they would change server, role or TLS. */
const NOT_IN_URL = ['host', 'port', 'dbname', 'user', 'password', 'sslmode', 'uselibpqcompat']

/**
 * Returns a connection URL with a token as the password. Settings that are missing are read from pg's variables.
 *
 * @param {Record<string, unknown>} settings by libpq's keywords
 * @param {string} user
 * @param {string} password
 */
function connectionUrl(settings, user, password) {
  const { PGHOST = 'localhost', PGPORT = '5432', PGDATABASE } = process.env
  const { host = PGHOST, port = PGPORT, dbname = PGDATABASE ?? user } = settings
  const parameters = new URLSearchParams({ sslmode: 'verify-full' })
  for (const [name, value] of Object.entries(settings))
    if (!NOT_IN_URL.includes(name)) parameters.set(name, String(value))
  const isSocket = String(host).startsWith('/')
  if (isSocket) parameters.set('host', String(host))
  const [name, secret, database] = [user, password, String(dbname)].map(encodeURIComponent)
  return `postgresql://${name}:${secret}@${isSocket ? '' : authorityOf(String(host), String(port))}/${database}?${parameters}`
}

/**
 * @param {string} hosts separated by commas
 * @param {string} ports one for all hosts, or as many as hosts
 */
function authorityOf(hosts, ports) {
  const each = ports.split(',')
  const servers = hosts.split(',').map((host, index) => {
    const name = host.includes(':') ? `[${host}]` : encodeURIComponent(host)
    return `${name}:${each[index] ?? each[0]}`
  })
  return servers.join(',')
}

function unknownConnection() {
  return errorOf(
    'insecure_transport',
    'the password function was called without the connection, so it cannot determine whether the connection has TLS and which ' +
      'server it is to',
    'Create the options with entraConfig (MikroORM 6: entraMikroOrmConfig). To get the token itself, call the function without ' +
      'an argument and not as a method.',
  )
}

/**
 * Reads the driver's settings. A property that throws counts as not set.
 *
 * @param {unknown} connection
 * @returns {{ ssl?: unknown, host?: unknown, user?: unknown }}
 */
function readConnection(connection) {
  if (typeof connection !== 'object' || connection === null) return {}
  try {
    const { ssl, host, user, path } = /** @type {Record<string, unknown>} */ (connection)
    // postgres.js: the path of a Unix socket takes precedence over the hosts.
    return { ssl, user, host: Array.isArray(host) && typeof path === 'string' && path !== '' ? '/' : host }
  } catch {
    return {}
  }
}

function isTls(/** @type {unknown} */ ssl) {
  if (ssl === true || (typeof ssl === 'object' && ssl !== null)) return true
  if (typeof ssl !== 'string') return false
  const mode = native.sslmodeOfText(ssl)
  return mode !== null && mode !== undefined && !['disable', 'allow', 'prefer'].includes(mode)
}

/**
 * Returns the names of the hosts, separated by commas; `undefined` if they are not known.
 *
 * @param {unknown} host
 * @param {unknown} connection
 * @param {unknown} caller
 */
function hostOf(host, connection, caller) {
  try {
    const hosts = Array.isArray(host) ? host : [host]
    if (hosts.length === 0 || !hosts.every((one) => typeof one === 'string' && one !== '')) return undefined
    for (const one of [connection, caller]) {
      // A socket of the application can be connected to any server.
      const { stream } = /** @type {{ connection?: { stream?: unknown } }} */ (one ?? {}).connection ?? {}
      if (typeof stream === 'object' && stream !== null) {
        if (!('remoteAddress' in stream)) return undefined
        if (typeof stream.remoteAddress === 'string') hosts.push(stream.remoteAddress)
      }
    }
    return hosts.join(',')
  } catch {
    return undefined
  }
}

module.exports = {
  TLS_SETTINGS,
  connectionPlan,
  connectionUrl,
  defined,
  environmentOf,
  modeOf,
  portOf,
  readConnection,
  readConfig,
  requireTls,
  sslFor,
  sslmodeOf,
  textOf,
  withoutBrackets,
  wrongType,
}
