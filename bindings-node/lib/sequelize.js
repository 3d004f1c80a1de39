'use strict'

// Sequelize 6 and 7.

const { errorOf } = require('./errors.js')
const { Doors, documentOf } = require('./provider.js')
const { modeOf, planOf, portOf, sslFor, textOf } = require('./connection.js')
const { warn } = require('./log.js')
const { set } = require('./pg.js')
const { Source, isCredential } = require('./source.js')

/** @import * as published from './index.js' */

/**
 * What is used of Sequelize: 6 says `username` and has TLS among the options of the dialect, 7 says `user` and `ssl`.
 *
 * @typedef {{
 *   host?: string | null, port?: number | string | null, database?: string | null, username?: string, user?: string,
 *   password?: unknown, ssl?: unknown, dialectOptions?: { ssl?: unknown },
 * }} Config
 * @typedef {(config: Config) => Promise<void>} Hook
 * @typedef {{
 *   beforeConnect: (hook: Hook) => void,
 *   hooks?: { addListener: (event: 'beforeConnect', hook: Hook) => void },
 *   constructor: { version?: string },
 * }} Sequelize
 */

/**
 * @typedef {{
 *   credential: unknown, options: published.ConnectionOptions, document: Record<string, unknown>,
 *   doors: Map<string, Doors>,
 * }} Settings `doors` by what the connection's plan says
 */

/**
 * By Sequelize instance: the credential and options of the last call.
 *
 * @type {WeakMap<Sequelize, Settings>}
 */
const configured = new WeakMap()

/**
 * By connection config: what it held before any of ours was put in. Sequelize 6 uses one object for all connections.
 *
 * @type {WeakMap<Config, { user: string | undefined, password: boolean }>}
 */
const seen = new WeakMap()

/**
 * Sets user and password of each new connection of a Sequelize instance.
 *
 * @type {typeof published.configureEntraAuthentication}
 */
function configureEntraAuthentication(sequelize, credential, options = {}) {
  if (!isSequelize(sequelize)) {
    throw errorOf(
      'invalid_connection',
      `sequelize: expected a Sequelize instance${isCredential(sequelize) ? ', got a function or a credential' : ''}`,
      'Pass what `new Sequelize(...)` returned first, then the credential.',
    )
  }
  // What is no credential, or no option, is told now; the variables of Service Connector are read at each connection.
  const document = { appid_as_username: true, ...documentOf(options) }
  const settings = { credential, options, document, doors: new Map() }
  new Doors(credential, document)
  planOf({ host: 'localhost' }, options, { hasCredential: credential !== undefined, replacesLogin: true })
  const known = configured.get(sequelize)
  if (known !== undefined) {
    Object.assign(known, settings)
    return sequelize
  }
  configured.set(sequelize, settings)
  const isSeven = Number.parseInt(sequelize.constructor?.version ?? '', 10) >= 7
  /** @type {Hook} */
  const hook = (config) => beforeConnect(config, settings, isSeven)
  if (isSeven && sequelize.hooks) sequelize.hooks.addListener('beforeConnect', hook)
  else sequelize.beforeConnect(hook)
  return sequelize
}

/**
 * @param {unknown} value
 * @returns {value is Sequelize}
 */
function isSequelize(value) {
  const { beforeConnect, hooks } = /** @type {Partial<Sequelize>} */ (value ?? {})
  return typeof beforeConnect === 'function' || typeof hooks?.addListener === 'function'
}

/**
 * @param {Config} config
 * @param {Settings} settings
 * @param {boolean} isSeven
 */
async function beforeConnect(config, settings, isSeven) {
  const userKey = isSeven ? 'user' : 'username'
  let had = seen.get(config)
  if (had === undefined) {
    had = { user: textOf(userKey, config[userKey]), password: Boolean(config.password) }
    seen.set(config, had)
  }
  // A role chosen on purpose; with a password beside it, it is the old login's.
  const chosen = had.password ? undefined : had.user
  const { options } = settings
  const plan = planOf(settingsOf(config, had, settings, isSeven), options, {
    hasCredential: settings.credential !== undefined,
    replacesLogin: true,
  })
  plan.warnings.forEach(warn)
  setServer(config, plan)
  const given = isSeven ? config.ssl : config.dialectOptions?.ssl
  const ssl = sslFor(plan.uses_entra ? plan : { sslmode: null }, given, plan.settings)
  if (ssl !== given && ssl !== undefined) {
    if (isSeven) config.ssl = ssl
    else config.dialectOptions = { ...config.dialectOptions, ssl }
  }
  if (!plan.uses_entra) {
    // Service Connector's user and password.
    if (plan.user !== null) config[userKey] = plan.user
    setPassword(config, plan.settings.password ?? '', isSeven)
    return
  }
  const role = chosen ?? options.user ?? plan.user
  const door = doorsFor(settings, plan, role)
  // With a role there is no need for the token's claims.
  const { user, password } = role ? { user: role, password: await door.token() } : await door.login()
  config[userKey] = user
  setPassword(config, password, isSeven)
}

/**
 * A connection's settings by libpq's names.
 *
 * @param {Config} config
 * @param {{ user: string | undefined, password: boolean }} had
 * @param {Settings} settings
 * @param {boolean} isSeven
 */
function settingsOf({ host, port, database, ssl, dialectOptions }, had, { options }, isSeven) {
  // Sequelize 6 puts in its defaults, which must not win over Service Connector.
  const isDefault = Boolean(options.serviceConnector) && !isSeven && (host === 'localhost' || !host)
  return set({
    host: isDefault ? undefined : textOf('host', host),
    port: isDefault && Number(port) === 5432 ? undefined : portOf(port),
    dbname: textOf('database', database),
    user: had.user ?? (had.password ? undefined : options.user),
    password: had.password ? 'given' : undefined,
    sslmode: modeOf(isSeven ? ssl : dialectOptions?.ssl),
  })
}

/**
 * The server and database that Service Connector names.
 *
 * @param {Config} config
 * @param {import('./connection.js').Plan} plan
 */
function setServer(config, { settings: { host, port, dbname } }) {
  if (host) config.host = host
  if (port) config.port = portOf(port)
  if (dbname) config.database = dbname
}

/**
 * @param {Settings} settings
 * @param {import('./connection.js').Plan} plan
 * @param {string | null} role
 */
function doorsFor({ credential, document, doors }, plan, role) {
  const key = JSON.stringify([plan.host, role, plan.credential])
  let found = doors.get(key)
  if (found === undefined) {
    const source = plan.credential ? new Source(plan.credential) : credential
    found = new Doors(source, { ...set({ host: plan.host ?? undefined, user: role ?? undefined }), ...document })
    doors.set(key, found)
  }
  return found
}

/**
 * Sequelize 6 prints the object it shares; 7 spreads a copy for each connection, which must be enumerable.
 *
 * @param {Config} config
 * @param {string} value
 * @param {boolean} isSeven
 */
function setPassword(config, value, isSeven) {
  Object.defineProperty(config, 'password', { value, enumerable: isSeven, configurable: true, writable: true })
}

module.exports = { configureEntraAuthentication }
