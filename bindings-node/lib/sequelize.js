'use strict'

// Sequelize 6 and 7.

const { errorOf } = require('./errors.js')
const { Doors, documentOf } = require('./provider.js')
const { secureSsl } = require('./connection.js')

/** @import * as published from './index.js' */

/**
 * What is used of Sequelize: 6 says `username` and has TLS among the options of the dialect, 7 says `user` and `ssl`.
 *
 * @typedef {{
 *   host?: string | null, username?: string, user?: string, password?: unknown,
 *   ssl?: unknown, dialectOptions?: { ssl?: unknown },
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
 *   doors: Map<string | undefined, Doors>,
 * }} Settings `doors` by host
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
 * @type {WeakMap<Config, { user: boolean, password: boolean }>}
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
      'sequelize: expected a Sequelize instance',
      'Pass what `new Sequelize(...)` returned.',
    )
  }
  // What is no credential, or no option, is told now.
  const document = { appid_as_username: true, ...documentOf(options) }
  const settings = { credential, options, document, doors: new Map() }
  doorsFor(settings, undefined)
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
    had = { user: Boolean(config[userKey]), password: Boolean(config.password) }
    seen.set(config, had)
  }
  // A role chosen on purpose; with a password beside it, it is the old login's.
  const keepsUser = had.user && !had.password
  setTls(config, settings.options.allowInsecureTransport, isSeven)
  const door = doorsFor(settings, config.host ?? undefined)
  if (keepsUser) {
    setPassword(config, await door.token(), isSeven)
    return
  }
  const { user, password } = await door.login()
  config[userKey] = user
  setPassword(config, password, isSeven)
}

/**
 * @param {Settings} settings
 * @param {string | undefined} host
 */
function doorsFor({ credential, document, doors }, host) {
  let found = doors.get(host)
  if (found === undefined) {
    found = new Doors(credential, { host, ...document })
    doors.set(host, found)
  }
  return found
}

/**
 * @param {Config} config
 * @param {boolean | undefined} allowInsecure
 * @param {boolean} isSeven
 */
function setTls(config, allowInsecure, isSeven) {
  const given = isSeven ? config.ssl : config.dialectOptions?.ssl
  const ssl = secureSsl(given, config.host ?? undefined, allowInsecure)
  if (ssl === given) return
  if (isSeven) config.ssl = ssl
  else config.dialectOptions = { ...config.dialectOptions, ssl }
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
