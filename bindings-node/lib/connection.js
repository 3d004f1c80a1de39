'use strict'

// Connection settings: what the driver is given is read here, and core decides how the connection logs in.

const { native } = require('./native.js')
const { calling, errorOf, fromDocument } = require('./errors.js')
const { isCredential, typeName } = require('./source.js')

/** @import { ConnectionOptions, EntraPassword } from './index.js' */

/**
 * A password of a config of pg: the program's own function, or one of ours.
 *
 * @typedef {(() => string | Promise<string>) & Partial<Pick<EntraPassword, 'invalidate' | 'stats'>>} Password
 * @typedef {boolean | object | string} Ssl
 * @typedef {{
 *   host?: string, port?: number | string, database?: string, user?: string, password?: string | Password | null,
 *   ssl?: Ssl | null,
 * }} Settings what is read of a config of pg
 * @typedef {Record<string, string>} Text settings by libpq's keywords
 * @typedef {{
 *   uses_entra: boolean, user: string | null, user_source: string | null, drops_user: boolean, sslmode: string | null,
 *   host: string | null, settings: Text, credential: Record<string, unknown> | null, warnings: string[],
 * }} Plan see ConnectionPlan in core
 */

/** The variables that pg reads, and postgres.js but for PGSSLMODE. */
const VARIABLES = {
  host: 'PGHOST',
  port: 'PGPORT',
  dbname: 'PGDATABASE',
  sslmode: 'PGSSLMODE',
  connect_timeout: 'PGCONNECT_TIMEOUT',
}

/** Settings of libpq that no driver of Node has: they must not take part in a decision. */
const NOT_IN_NODE = ['hostaddr', 'service', 'servicefile', 'passfile']

/** What says how TLS is used, in a URL. */
const TLS_SETTINGS = ['sslmode', 'sslrootcert', 'sslcert', 'sslkey', 'uselibpqcompat']

/**
 * A config, with its connection string apart. Refuses what is not a config.
 *
 * @param {unknown} config
 * @returns {{ given: Record<string, unknown>, text: Text }} what the config sets itself, and its connection string's settings
 */
function readConfig(config) {
  if (typeof config === 'string' || isUrl(config)) config = { connectionString: config }
  if (isCredential(config)) {
    throw errorOf(
      'invalid_connection',
      "config: expected the connection's settings, got a credential",
      'The credential is the second argument: entraConfig({ host, database }, credential).',
    )
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config) || 'then' in config) {
    const came = config === null || typeof config !== 'object' ? typeName(config) : 'a list or a promise'
    throw errorOf('invalid_connection', `config: expected an object or a connection string, got ${came}`)
  }
  const { connectionString, ...given } = /** @type {Record<string, unknown>} */ (config)
  return { given, text: readText(connectionString) }
}

/**
 * By its shape: each realm has a class of its own.
 *
 * @param {unknown} value
 * @returns {value is URL}
 */
function isUrl(value) {
  if (typeof value !== 'object' || value === null || !('searchParams' in value)) return false
  const { href, protocol } = /** @type {{ href?: unknown, protocol?: unknown }} */ (value)
  return typeof href === 'string' && typeof protocol === 'string'
}

/** The settings of a connection string. */
function readText(/** @type {unknown} */ text) {
  if (text === undefined || text === null) return {}
  if (typeof text !== 'string' && !isUrl(text)) throw wrongType('connectionString', 'a string', text)
  /** @type {Text} */
  const settings = JSON.parse(calling(() => native.connectionRead(String(text), 'url')))
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
 * A setting that is a string; empty and `null` count as not given.
 *
 * @param {string} name
 * @param {unknown} value
 */
function textOf(name, value) {
  if (value === undefined || value === null || value === '') return undefined
  if (typeof value !== 'string') throw wrongType(name, 'a string', value)
  return value
}

function portOf(/** @type {unknown} */ value) {
  if (value === undefined || value === null || value === '') return undefined
  const port = typeof value === 'string' ? Number(value) : value
  if (typeof port === 'number' && Number.isInteger(port) && port >= 0 && port < 65536) return port
  throw typeof value === 'number' || typeof value === 'string'
    ? errorOf('invalid_connection', 'port: expected a number from 0 to 65535, got another one')
    : wrongType('port', 'a number', value)
}

/**
 * @param {string} text
 * @param {string} name
 */
function sslmodeOf(text, name) {
  const mode = native.sslmodeOfText(text)
  if (mode !== null && mode !== undefined) return mode
  throw errorOf(
    'invalid_connection',
    `${name}: expected true, false, options of tls.connect, or a mode such as require or verify-full; got another text`,
    'Use `ssl: true`, which verifies the certificate of the server.',
  )
}

/** The `sslmode` that an `ssl` setting stands for; `undefined` where it sets nothing. */
function modeOf(/** @type {unknown} */ ssl) {
  if (ssl === undefined || ssl === null || ssl === '') return undefined
  if (typeof ssl === 'boolean') return ssl ? 'verify-full' : 'disable'
  if (typeof ssl === 'string') return sslmodeOf(ssl, 'ssl')
  if (typeof ssl !== 'object') throw wrongType('ssl', 'true, false or options of tls.connect', ssl)
  return /** @type {{ rejectUnauthorized?: unknown }} */ (ssl).rejectUnauthorized === false ? 'require' : 'verify-full'
}

/**
 * The `ssl` that a mode stands for in pg, which verifies the server's certificate in all but one.
 *
 * @param {string} mode
 * @param {Text} [text] the settings that it comes from
 */
function sslOfMode(mode, text = {}) {
  if (mode === 'disable' || mode === 'allow') return false
  if (mode === 'no-verify') return { rejectUnauthorized: false }
  // pg's word for the modes of libpq, of which some verify less.
  if (text.uselibpqcompat !== 'true' || mode === 'verify-full') return true
  if (mode === 'verify-ca' || (mode === 'require' && text.sslrootcert)) return { checkServerIdentity() {} }
  return { rejectUnauthorized: false }
}

/**
 * The `ssl` to connect with, as pg takes it; `undefined` leaves it to the driver.
 *
 * @param {Pick<Plan, 'sslmode'> & Partial<Plan>} plan
 * @param {unknown} given the setting of the config
 * @param {Text} text of the connection string, or of Service Connector
 * @returns {Ssl | undefined}
 */
function sslFor(plan, given, text) {
  const files = filesOf(text)
  const ssl = sslWithout(plan, given, text) ?? (files && true)
  if (!files || !ssl || typeof ssl === 'string') return ssl
  return { ...files, .../** @type {object} */ (ssl === true ? {} : ssl) }
}

/**
 * @param {Pick<Plan, 'sslmode'> & Partial<Plan>} plan
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
  // pg compares the letters, and does without TLS where it does not know a mode.
  return mode && native.sslmodeOfText(mode) !== mode ? sslOfMode(sslmodeOf(mode, 'PGSSLMODE')) : undefined
}

/** The certificates and keys that a URL names, read. */
function filesOf(/** @type {Text} */ text) {
  const named = Object.entries({ ca: text.sslrootcert, cert: text.sslcert, key: text.sslkey })
  const files = named.filter(([, file]) => file && file !== 'system')
  if (files.length === 0) return undefined
  const { readFileSync } = require('node:fs')
  return Object.fromEntries(
    files.map(([name, file]) => {
      try {
        return [name, readFileSync(/** @type {string} */ (file), 'utf8')]
      } catch (error) {
        const { code } = /** @type {NodeJS.ErrnoException} */ (error)
        throw errorOf('invalid_connection', `the connection string: the file of its ${name} cannot be read (${code})`)
      }
    }),
  )
}

/**
 * Asks core how a connection logs in.
 *
 * @param {Record<string, unknown>} settings by libpq's keywords
 * @param {ConnectionOptions} options
 * @param {{ hasCredential?: boolean, replacesLogin?: boolean, variables?: Record<string, string> }} [more]
 * @returns {Plan}
 */
function planOf(settings, options, { hasCredential = false, replacesLogin = false, variables = VARIABLES } = {}) {
  const { serviceConnector = false } = options
  const isWanted = typeof serviceConnector === 'boolean' || (typeof serviceConnector === 'string' && serviceConnector)
  if (!isWanted && serviceConnector !== null) {
    throw errorOf(
      'invalid_configuration',
      'option `serviceConnector`: expected true, or the name or the prefix of a connection',
    )
  }
  const request = {
    arguments: settings,
    variables,
    service_files: false,
    environment: environmentOf(Boolean(serviceConnector)),
    service_connector: serviceConnector,
    has_credential: hasCredential,
    require_entra: flag('requireEntra', options.requireEntra),
    allow_insecure_transport: flag('allowInsecureTransport', options.allowInsecureTransport),
    replace_login: replacesLogin,
    verifies_certificates: true,
    spelling: 'camel',
  }
  const plan = calling(() => native.connectionPlan(JSON.stringify(request)), planError)
  return JSON.parse(plan)
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function flag(name, value) {
  if (value === undefined || value === null) return false
  if (typeof value === 'boolean') return value
  throw errorOf('invalid_configuration', `option \`${name}\`: expected true or false, got ${typeName(value)}`)
}

function planError(/** @type {string} */ document) {
  const error = fromDocument(document)
  return error.code === 'insecure_transport' ? insecure(error.message.replace(/\. .*/s, '')) : error
}

function insecure(/** @type {string} */ what) {
  return errorOf(
    'insecure_transport',
    what,
    'Switch TLS on with `ssl: true`, or with sslmode=verify-full in a URL; or pass `allowInsecureTransport: true` for a server ' +
      'that you trust on that path.',
  )
}

/** @type {string[] | undefined} */
let variables

/** The environment as core is to see it: all of it where Service Connector is used. */
function environmentOf(/** @type {boolean} */ isWhole) {
  if (isWhole) return { ...process.env }
  variables ??= native.connectionVariables()
  return Object.fromEntries(
    variables.map((name) => [name, process.env[name]]).filter(([, value]) => value !== undefined),
  )
}

/**
 * Refuses to send a token where the driver's settings show no TLS and a server that is not local. What cannot be read in them
 * counts as remote and without TLS.
 *
 * @param {unknown} connection what the driver hands over: pg its parameters or its client, postgres.js its options
 * @param {unknown} caller the `this` of the call
 * @param {boolean | undefined} allowInsecure
 */
function requireTls(connection, caller, allowInsecure) {
  if (allowInsecure === true) return
  const { ssl, host } = read(connection)
  if (isTls(ssl)) return
  const hosts = hostOf(host, connection, caller)
  const request = {
    arguments: { sslmode: 'disable', ...(hosts !== undefined && { host: hosts }) },
    variables: {},
    service_files: false,
    unknown_server: true,
    spelling: 'camel',
  }
  calling(
    () => native.connectionPlan(JSON.stringify(request)),
    (document) => {
      const error = planError(document)
      return hosts === undefined ? unreadable() : error
    },
  )
}

function unreadable() {
  return errorOf(
    'insecure_transport',
    'the password function was called with something in which it cannot read whether the connection has TLS, and to which server ' +
      'it goes',
    'Build the options with entraConfig (MikroORM 6: entraMikroOrmConfig). To get the token yourself, call the function without ' +
      'an argument and not as a method.',
  )
}

/**
 * What the driver says; a property that cannot be read says nothing.
 *
 * @param {unknown} connection
 * @returns {{ ssl?: unknown, host?: unknown, user?: unknown }}
 */
function read(connection) {
  if (typeof connection !== 'object' || connection === null) return {}
  try {
    const { ssl, host, user, path } = /** @type {Record<string, unknown>} */ (connection)
    // postgres.js: the path of a Unix socket takes the place of the hosts.
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
 * The names of the hosts, separated by commas; `undefined` where they are not known.
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
      // A socket of the application's own goes wherever it likes.
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
  VARIABLES,
  modeOf,
  planOf,
  portOf,
  read,
  readConfig,
  requireTls,
  sslFor,
  sslmodeOf,
  textOf,
  environmentOf,
  wrongType,
}
