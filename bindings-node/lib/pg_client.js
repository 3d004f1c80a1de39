'use strict'

// Classes that derive from pg's Client.

const { native } = require('./addon.js')
const { defined, readConfig, sslFor } = require('./connection.js')
const { errorOf } = require('./errors.js')
const { isCredential, typeName } = require('./credential_source.js')
const { decideLogin, explainLoginError, passwordFunction, passwordUses, sqlstateOf, waitOf } = require('./login.js')
const { configForPg, namedForPg, requireOneHost } = require('./pg.js')
const { TokenClient, documentOf } = require('./provider.js')

/** @import { EventEmitter } from 'node:events' */
/** @import * as published from './index.js' */
/** @import { Password, Settings } from './connection.js' */
/** @import { PasswordUse } from './login.js' */

/** @typedef {Error & { code?: unknown }} DriverError an error of pg */

/**
 * The part of pg's `Client` that is used. Its own types contain less.
 *
 * @typedef {(error?: DriverError | null, ...rest: unknown[]) => void} Callback
 * @typedef {EventEmitter & { stream: { destroy(): void } }} Connection
 * @typedef {new (config?: Settings) => {
 *   user?: string, host?: string, database?: string, password?: string | Password | null,
 *   connectionParameters: { user?: string, database?: string }, connection: Connection, _ending?: boolean,
 *   connect(callback: Callback): void,
 * }} ClientClass
 */

/** The class of pg-native has the same name and the same methods as that of pg, but for the wire protocol. */
function isNativeClient(/** @type {unknown} */ Client) {
  const { prototype } = /** @type {{ prototype?: Record<string, unknown> }} */ (Client ?? {})
  return typeof prototype?.connect === 'function' && typeof prototype.getStartupConf !== 'function'
}

/**
 * Rejects a value that is not pg's Client.
 *
 * @param {ClientClass} Client
 */
function checkClient(Client) {
  const prototype = typeof Client === 'function' ? Client.prototype : undefined
  if (typeof prototype?.connect !== 'function') {
    const type = isCredential(Client) ? 'a function or a credential' : typeName(Client)
    throw errorOf('invalid_connection', `Client: expected the class Client of pg, got ${type}`, 'Pass `pg.Client`.')
  }
  if (isNativeClient(Client)) {
    throw errorOf(
      'invalid_connection',
      'Client: the client of pg-native is not supported, because it does not call a password function',
      'Pass `pg.Client`, and do not set NODE_PG_FORCE_NATIVE.',
    )
  }
}

/**
 * Returns an error of pg with the explanation of the login error in its message.
 *
 * @param {DriverError} error
 * @param {{ user?: string, host?: string }} client
 * @param {Password} source the password function
 * @param {string} token
 */
function explained(error, { user, host }, source, token) {
  const { user: derived, userSource, usesConnector } = passwordUses.get(source) ?? {}
  const lines = explainLoginError({
    sqlstate: sqlstateOf(error),
    message: String(error.message),
    user: user === undefined ? undefined : String(user),
    // The application can have set another user since.
    userSource: user === derived ? userSource : undefined,
    host,
    token,
    usesConnector,
  })
  if (lines) error.message += `\n${lines}`
  return error
}

/** Returns the cached token of a password function; an empty text if there is none. */
function cachedToken(/** @type {Password} */ source) {
  try {
    return passwordUses.get(source)?.client.tryToken() ?? ''
  } catch {
    return ''
  }
}

/** Returns options in which the connection string does not replace the password function. */
function keepingPassword(/** @type {(Settings & { connectionString?: unknown })=} */ config) {
  if (typeof config?.password !== 'function' || !config.connectionString) return config
  const { given, text } = readConfig(config)
  requireOneHost(text)
  const { ssl } = config
  return {
    ...namedForPg(text),
    ...defined({ user: text.user }),
    ...defined(given),
    ...defined({ ssl: sslFor({ sslmode: null }, ssl, text) }),
  }
}

/**
 * Holds back the `end` of a connection: pg rejects queued queries and emits `end` to the application on it.
 *
 * @param {Connection} connection
 * @returns {() => void} passes it on, also if it has happened already
 */
function holdBackEnd(connection) {
  const listeners = connection.rawListeners('end')
  connection.removeAllListeners('end')
  let hasEnded = false
  connection.once('end', () => (hasEnded = true))
  return () => {
    for (const listener of listeners) connection.on('end', /** @type {() => void} */ (listener))
    if (hasEnded) connection.emit('end')
  }
}

/** Properties of a client that belong to the application, or to the queries that it has queued. */
const KEPT = ['_events', '_eventsCount', '_maxListeners', '_queryQueue', 'queryQueue']

/**
 * Returns a class that derives from pg's `Client`. If the server rejects the token, it connects once more with a newer token;
 * otherwise the server's error is raised with an explanation.
 *
 * @param {ClientClass} Client
 */
function retryingClient(Client) {
  checkClient(Client)
  return class extends Client {
    #config
    #isRetry = false

    /** @param {Settings & { connectionString?: unknown }} [config] */
    constructor(config) {
      const settings = keepingPassword(config)
      super(settings)
      this.#config = settings
    }

    /**
     * @override
     * @param {Callback} [callback]
     * @returns {Promise<unknown> | void}
     */
    connect(callback) {
      if (callback === undefined) {
        return new Promise((resolve, reject) => this.connect((error) => (error ? reject(error) : resolve(this))))
      }
      const source = this.password
      if (typeof source !== 'function') return super.connect(callback)
      super.connect((error, ...rest) => {
        if (!error) return callback(error, ...rest)
        // pg has replaced the function by the token. The server can also refuse a connection before it asks for a password.
        const token = this.password
        if (typeof token !== 'string') return callback(explained(error, this, source, cachedToken(source)))
        const isRetriable = !this.#isRetry && native.isRetriableLoginError(sqlstateOf(error), String(error.message))
        if (!isRetriable || !source.invalidate) return callback(explained(error, this, source, token))
        this.#isRetry = true
        const passOnEnd = holdBackEnd(this.connection)
        const fail = () => {
          callback(explained(error, this, source, token))
          passOnEnd()
        }
        source.invalidate(token).then((hasNewer) => {
          if (!hasNewer || this._ending) return fail()
          this.#reset(source)
          this.connect(callback)
        }, fail)
      })
    }

    /**
     * pg connects a client only once, so this client gets the state of a new one.
     *
     * @param {Password} password
     */
    #reset(password) {
      const { connection, user, database } = this
      connection.removeAllListeners()
      connection.on('error', () => {})
      connection.stream.destroy()
      const fresh = new Client({ ...this.#config, ...defined({ user, database }), password })
      for (const name of Object.getOwnPropertyNames(fresh)) {
        const property = Object.getOwnPropertyDescriptor(fresh, name)
        if (property && !KEPT.includes(name)) Object.defineProperty(this, name, property)
      }
    }
  }
}

/**
 * Returns a class that derives from {@link retryingClient} and also determines user, password and TLS of each connection, so that
 * it can be used where nothing can be awaited.
 *
 * @param {ClientClass} Client
 * @param {published.CredentialArgument} [credential]
 * @param {published.EntraConfigOptions} [options]
 */
function entraClient(Client, credential, options = {}) {
  checkClient(Client)
  // Reports a wrong credential or option now. The settings of a connection are read when a client is created.
  if (!options?.serviceConnector) new TokenClient(credential, documentOf(options))
  else documentOf(options)
  return class extends retryingClient(Client) {
    /** @type {PasswordUse | undefined} */
    #use
    #hasDatabase
    /** @type {unknown} */
    #configError

    /** @param {Settings & { connectionString?: unknown } | string} [config] */
    constructor(config) {
      const { settings, use, error } = settingsOf(config, credential, options)
      super(settings)
      this.#use = use
      this.#configError = error
      this.#hasDatabase = Boolean(settings.database || process.env.PGDATABASE)
    }

    /**
     * @override
     * @param {Callback} [callback]
     * @returns {Promise<unknown> | void}
     */
    connect(callback) {
      if (callback === undefined) return super.connect()
      if (this.#configError !== undefined) {
        const error = /** @type {DriverError} */ (this.#configError)
        return process.nextTick(() => callback(error))
      }
      const use = this.#use
      if (use === undefined || use.user !== undefined) return super.connect(callback)
      use.client.login(waitOf(this, use)).then(({ user, source }) => {
        Object.assign(use, { user, userSource: source })
        this.user = this.connectionParameters.user = user
        // pg's default database has the name of the user.
        if (!this.#hasDatabase) this.database = this.connectionParameters.database = user
        super.connect(callback)
      }, callback)
    }
  }
}

/**
 * Returns the settings of one client. An error is returned, because a pool creates clients where it does not expect one.
 *
 * @param {unknown} config
 * @param {published.CredentialArgument | undefined} credential
 * @param {published.EntraConfigOptions} options
 * @returns {{ settings: Settings, use?: PasswordUse, error?: unknown }}
 */
function settingsOf(config = {}, credential, options) {
  try {
    const { given, text } = readConfig(config)
    requireOneHost(text)
    requireOneHost(given)
    const { use, text: all, user, password, ssl } = decideLogin(given, text, credential, options)
    requireOneHost(all)
    const source = use ? passwordFunction(use) : password
    return { settings: configForPg(given, all, { user, password: source, ssl }), use }
  } catch (error) {
    return { settings: {}, error }
  }
}

module.exports = { entraClient, isNativeClient, retryingClient }
