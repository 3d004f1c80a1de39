'use strict'

// Sequelize 6 and 7.

const { native } = require('./addon.js')
const { errorOf } = require('./errors.js')
const { TokenClient, documentOf } = require('./provider.js')
const { connectionPlan, defined, modeOf, portOf, sslFor, textOf } = require('./connection.js')
const { warn } = require('./log.js')
const { explainLoginError, sqlstateOf } = require('./login.js')
const { isNativeClient } = require('./pg_client.js')
const { CredentialSource, isCredential } = require('./credential_source.js')

/** @import * as published from './index.js' */

/**
 * The part of Sequelize that is used. Version 6 has `username`, and TLS in the options of the dialect; version 7 has `user` and
 * `ssl`.
 *
 * @typedef {{
 *   host?: string | null, port?: number | string | null, database?: string | null, username?: string, user?: string,
 *   password?: unknown, ssl?: unknown, dialectOptions?: { ssl?: unknown },
 * }} Config
 * @typedef {(config: Config) => Promise<void>} Hook
 * @typedef {{
 *   beforeConnect: (hook: Hook) => void,
 *   hooks?: { addListener: (event: 'beforeConnect', hook: Hook) => void },
 *   config?: { native?: boolean },
 *   dialect?: {
 *     options?: { native?: boolean, pgModule?: { Client?: unknown } },
 *     connectionManager?: {
 *       lib?: { Client?: unknown },
 *       connect?: (config: Config, ...rest: unknown[]) => Promise<unknown>,
 *     },
 *   },
 *   constructor: { version?: string },
 * }} Sequelize
 */

/**
 * @typedef {{
 *   credential: unknown, options: published.ConnectionOptions, document: Record<string, unknown>,
 *   clients: Map<string, TokenClient>,
 * }} HookSettings `clients` by server, role and credential of the connection plan
 */

/**
 * By Sequelize instance: the credential and options of the last call.
 *
 * @type {WeakMap<Sequelize, HookSettings>}
 */
const configured = new WeakMap()

/**
 * By connection config: the login that it had at first. Sequelize 6 uses one object for all connections.
 *
 * @type {WeakMap<Config, { user: string | undefined, password: boolean }>}
 */
const seen = new WeakMap()

/**
 * By connection config: the login that the hook has set.
 *
 * @type {WeakMap<Config, { client: TokenClient, token: string, user: string, source?: string }>}
 */
const logins = new WeakMap()

/**
 * Sets user, password and TLS of each new connection of a Sequelize instance.
 *
 * @type {typeof published.configureEntraAuthentication}
 */
function configureEntraAuthentication(sequelize, credential, options = {}) {
  if (!isSequelize(sequelize)) {
    throw errorOf(
      'invalid_connection',
      `sequelize: expected a Sequelize instance${isCredential(sequelize) ? ', got a function or a credential' : ''}`,
      'Pass the result of `new Sequelize(...)` first, then the credential.',
    )
  }
  rejectNative(sequelize)
  // A wrong credential or option is reported now. The variables of Service Connector are read for each connection.
  const document = { appid_as_username: true, ...documentOf(options) }
  const settings = { credential, options, document, clients: new Map() }
  new TokenClient(credential, document)
  connectionPlan({ host: 'localhost' }, options, { hasCredential: credential !== undefined, replacesLogin: true })
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
  retryConnect(sequelize, settings, isSeven)
  return sequelize
}

/**
 * pg-native reads other TLS settings: with options of tls.connect, it would connect without TLS if the server has none.
 *
 * @param {Sequelize} sequelize
 */
function rejectNative({ config, dialect }) {
  // Sequelize 7 does not show the module that it has loaded.
  const lib = dialect?.connectionManager?.lib ?? dialect?.options?.pgModule
  const isForced = lib === undefined && process.env.NODE_PG_FORCE_NATIVE !== undefined
  if (!config?.native && !dialect?.options?.native && !isForced && !isNativeClient(lib?.Client)) return
  throw errorOf(
    'invalid_connection',
    'sequelize: pg-native is not supported, because it does not read the TLS settings of pg',
    'Remove the option `native`, and do not set NODE_PG_FORCE_NATIVE.',
  )
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
 * @param {HookSettings} settings
 * @param {boolean} isSeven
 */
async function beforeConnect(config, settings, isSeven) {
  const userKey = isSeven ? 'user' : 'username'
  let had = seen.get(config)
  if (had === undefined) {
    had = { user: textOf(userKey, config[userKey]), password: Boolean(config.password) }
    seen.set(config, had)
  }
  // A configured role. A user with a password is the previous login, which is replaced.
  const chosen = had.password ? undefined : had.user
  const { options } = settings
  const plan = connectionPlan(settingsOf(config, had, settings, isSeven), options, {
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
    // Service Connector has a user and a password.
    if (plan.user !== null) config[userKey] = plan.user
    setPassword(config, plan.settings.password ?? '', isSeven)
    return
  }
  const role = chosen ?? options.user ?? plan.user
  const client = clientFor(settings, plan, role)
  // With a role, the token's claims are not needed.
  const source = role === plan.user && plan.user_source !== null ? plan.user_source : undefined
  const login = role ? { user: role, password: await client.token(), source } : await client.login()
  config[userKey] = login.user
  setPassword(config, login.password, isSeven)
  logins.set(config, { client, token: login.password, user: login.user, source: login.source })
}

/**
 * Connects once more with a newer token if the server rejects the token, and explains a login error.
 *
 * @param {Sequelize} sequelize
 * @param {HookSettings} settings
 * @param {boolean} isSeven
 */
function retryConnect({ dialect }, settings, isSeven) {
  const manager = dialect?.connectionManager
  const connect = manager?.connect
  if (manager === undefined || typeof connect !== 'function') return
  manager.connect = async function (config, ...rest) {
    const login = logins.get(config)
    const { password } = config
    try {
      return await connect.call(this, config, ...rest)
    } catch (error) {
      // Another hook can have set its own password.
      if (login === undefined || login.token !== password) throw error
      const { code, message } = driverErrorOf(error)
      const isRetriable = native.isRetriableLoginError(sqlstateOf({ code }), String(message))
      const hasNewer = isRetriable && (await login.client.invalidate(login.token).catch(() => false))
      if (!hasNewer) throw explained(error, login, config, settings)
    }
    await beforeConnect(config, settings, isSeven)
    const next = logins.get(config) ?? login
    return connect.call(this, config, ...rest).catch((error) => {
      throw explained(error, next, config, settings)
    })
  }
}

/** Returns the driver's error, which Sequelize wraps. */
function driverErrorOf(/** @type {unknown} */ error) {
  const { parent, original, cause } = /** @type {Record<string, unknown>} */ (error ?? {})
  return /** @type {{ code?: unknown, message?: string }} */ (parent ?? original ?? cause ?? error ?? {})
}

/**
 * Returns an error with the explanation of the login error in its message.
 *
 * @param {unknown} error
 * @param {{ token: string, user: string, source?: string }} login
 * @param {Config} config
 * @param {HookSettings} settings
 */
function explained(error, { token, user, source }, { host }, { options }) {
  const driverError = driverErrorOf(error)
  const message = String(driverError.message)
  const lines = explainLoginError({
    sqlstate: sqlstateOf(driverError),
    message,
    user,
    userSource: source,
    host: host ?? undefined,
    token,
    usesConnector: Boolean(options.serviceConnector),
  })
  for (const one of new Set([error, driverError])) {
    if (lines && one instanceof Error) one.message += `\n${lines}`
  }
  return error
}

/**
 * Returns a connection's settings by libpq's names.
 *
 * @param {Config} config
 * @param {{ user: string | undefined, password: boolean }} had
 * @param {HookSettings} settings
 * @param {boolean} isSeven
 */
function settingsOf({ host, port, database, ssl, dialectOptions }, had, { options }, isSeven) {
  // Sequelize 6 sets its defaults, which must not take precedence over Service Connector.
  const isDefault = Boolean(options.serviceConnector) && !isSeven && (host === 'localhost' || !host)
  return defined({
    host: isDefault ? undefined : textOf('host', host),
    port: isDefault && Number(port) === 5432 ? undefined : portOf(port),
    dbname: textOf('database', database),
    user: had.user ?? (had.password ? undefined : options.user),
    password: had.password ? 'given' : undefined,
    sslmode: modeOf(isSeven ? ssl : dialectOptions?.ssl),
  })
}

/**
 * Sets the server and database of Service Connector.
 *
 * @param {Config} config
 * @param {import('./connection.js').ConnectionPlan} plan
 */
function setServer(config, { settings: { host, port, dbname } }) {
  if (host) config.host = host
  if (port) config.port = portOf(port)
  if (dbname) config.database = dbname
}

/**
 * @param {HookSettings} settings
 * @param {import('./connection.js').ConnectionPlan} plan
 * @param {string | null} role
 */
function clientFor({ credential, document, clients }, plan, role) {
  const key = JSON.stringify([plan.host, role, plan.credential])
  let client = clients.get(key)
  if (client === undefined) {
    const source = plan.credential ? CredentialSource.of(plan.credential) : credential
    client = new TokenClient(source, {
      ...defined({ host: plan.host ?? undefined, user: role ?? undefined }),
      ...document,
    })
    clients.set(key, client)
  }
  return client
}

/**
 * Sequelize 6 logs the object that all connections share. Sequelize 7 spreads a copy for each connection, which copies only
 * enumerable properties.
 *
 * @param {Config} config
 * @param {string} value
 * @param {boolean} isSeven
 */
function setPassword(config, value, isSeven) {
  Object.defineProperty(config, 'password', { value, enumerable: isSeven, configurable: true, writable: true })
}

module.exports = { configureEntraAuthentication }
