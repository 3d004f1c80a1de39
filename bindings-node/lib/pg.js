'use strict'

// pg, and everything that takes its options: Knex, TypeORM, Drizzle, Kysely, postgres.js, Prisma's adapter.

const { native } = require('./native.js')
const { classes, errorOf } = require('./errors.js')
const { Doors, documentOf } = require('./provider.js')
const { secureSsl, requireTls, isConnection, accountOfSystem, expand, passwordStays } = require('./connection.js')

/** @import { EventEmitter } from 'node:events' */
/** @import * as published from './index.js' */
/** @import { Password, Settings } from './connection.js' */

/**
 * A password function for the `password` of pg's Client and Pool.
 *
 * @type {typeof published.entraTokenProvider}
 */
function entraTokenProvider(credential, options = {}) {
  const doors = new Doors(credential, documentOf(options))
  return passwordFunction(doors, options.allowInsecureTransport, true)
}

/**
 * The current token. Also a password function as it is: pg calls it with the connection's parameters.
 *
 * @type {typeof published.getEntraTokenPassword}
 */
async function getEntraTokenPassword(credential, scope) {
  if (isConnection(credential)) return entraTokenProvider()(credential)
  return new Doors(credential, documentOf({ scope })).token()
}

/**
 * @param {Doors} doors
 * @param {boolean | undefined} allowInsecure
 * @param {boolean} choosesNoUser
 * @returns {published.EntraPassword}
 */
function passwordFunction(doors, allowInsecure, choosesNoUser) {
  const password = async (/** @type {unknown} */ connection) => {
    if (isConnection(connection)) {
      requireTls(connection, allowInsecure)
      if (choosesNoUser && isAccountOfSystem(connection.user)) await checkUser(doors, connection.user)
    }
    return doors.token()
  }
  // Who only has the function can still tell that the server refused a token.
  return Object.assign(password, {
    invalidate: (/** @type {string | undefined} */ token) => doors.invalidate(token),
    stats: () => doors.stats(),
  })
}

/**
 * @param {unknown} user
 * @returns {user is string}
 */
function isAccountOfSystem(user) {
  return typeof user === 'string' && user !== '' && !process.env.PGUSER && user === accountOfSystem()
}

/**
 * pg does not tell whether a user was chosen: the account of the operating system is one only if the token has its name.
 *
 * @param {Doors} doors
 * @param {string} user
 */
async function checkUser(doors, user) {
  let login
  try {
    login = await doors.login()
  } catch (error) {
    if (error instanceof classes.PgEntraError && BEYOND_NAMES.has(error.code)) throw error
    // The token tells no name: the user may have been chosen on purpose.
    return
  }
  if (login.user === user) return
  throw errorOf(
    'invalid_connection',
    `the connection names no user, so pg took the account of the operating system, '${user}', but the token is for '${login.user}'`,
    'Set `user` or PGUSER, or build the options with entraConfig, which works the user out.',
  )
}

const BEYOND_NAMES = new Set([
  'credential_unavailable',
  'authentication_failed',
  'interaction_required',
  'credential_value',
  'host_credential',
  'shutting_down',
  'untrusted_certificate',
])

/**
 * The options of pg with user, password function and TLS put in.
 *
 * @param {Settings | string} [config]
 * @param {published.CredentialArgument} [credential]
 * @param {published.EntraConfigOptions} [options]
 * @returns {Promise<Settings>}
 */
async function entraConfig(config = {}, credential, options = {}) {
  const isObject = typeof config === 'object' && config !== null
  if (!isObject && typeof config !== 'string') {
    throw errorOf(
      'invalid_connection',
      `config: expected an object or a connection string, got ${config === null ? 'null' : typeof config}`,
    )
  }
  const settings = expand(config)
  const user = settings.user || process.env.PGUSER || undefined
  if (settings.password) {
    if (settings.user || options.requireEntra) passwordStays(settings.host, options.requireEntra)
    if (settings.user) return settings
  }
  const ssl = settings.password ? settings.ssl : secureSsl(settings.ssl, settings.host, options.allowInsecureTransport)
  const doors = new Doors(credential, {
    host: settings.host ?? process.env.PGHOST,
    ...documentOf({ user, ...options }),
  })
  return {
    ...settings,
    user: user ?? options.user ?? (await doors.login()).user,
    password: settings.password || passwordFunction(doors, options.allowInsecureTransport, false),
    ...(ssl !== undefined && { ssl }),
  }
}

/** @typedef {Error & { code?: unknown }} Refusal what pg reports */

/** The SQLSTATE of an error of pg; errors of sockets have codes too, which are none. */
function sqlstateOf(/** @type {Refusal} */ error) {
  return typeof error.code === 'string' && /^[0-9A-Z]{5}$/.test(error.code) ? error.code : undefined
}

/**
 * An error of pg with lines that say who tried to log in as what, and what to do.
 *
 * @param {Refusal} error
 * @param {unknown} user
 * @param {string} token
 */
function explained(error, user, token) {
  const lines = native.explainRefusal(sqlstateOf(error), String(error.message), String(user ?? ''), 'user', token)
  if (lines) error.message += `\n${lines}`
  return error
}

/** A config whose connection string does not take away the password function beside it. */
function keepingPassword(/** @type {(Settings & { connectionString?: unknown })=} */ config) {
  if (typeof config?.password !== 'function' || !config.connectionString) return config
  const { password, ...rest } = config
  return { password, ...expand(rest) }
}

/**
 * What is used of pg's `Client`, of which its own types tell a part.
 *
 * @typedef {(error?: Refusal | null, ...rest: unknown[]) => void} Callback
 * @typedef {new (config?: Settings) => {
 *   user?: string, password?: string | Password | null, connection: EventEmitter & { stream: { destroy(): void } },
 *   connect(callback: Callback): void,
 * }} ClientClass
 */

/**
 * A class that derives from pg's `Client` and connects once more, with a newer token, where the server refuses the one it
 * got; else the server's own error is raised, with an explanation. For configs of `entraConfig` and `entraTokenProvider`.
 *
 * @param {ClientClass} Client
 */
function retryingClient(Client) {
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
        // pg puts the token in the place of the function.
        const token = this.password
        if (!error || typeof token !== 'string') return callback(error, ...rest)
        const isWorthIt = !this.#isRetry && native.isRetriable(sqlstateOf(error), String(error.message))
        const renewal = isWorthIt ? source.invalidate?.(token) : undefined
        if (renewal === undefined) return callback(explained(error, this.user, token))
        renewal.then(
          (isRenewed) => {
            if (!isRenewed) return callback(explained(error, this.user, token))
            this.#isRetry = true
            this.#startAnew()
            this.connect(callback)
          },
          () => callback(explained(error, this.user, token)),
        )
      })
    }

    /** pg connects a client once only: takes over the state of one that has not tried yet. */
    #startAnew() {
      const { connection } = this
      connection.removeAllListeners()
      connection.on('error', () => {})
      connection.stream.destroy()
      const fresh = new Client(this.#config)
      const listeners = ['_events', '_eventsCount', '_maxListeners', '_queryQueue']
      for (const name of Object.getOwnPropertyNames(fresh)) {
        const property = Object.getOwnPropertyDescriptor(fresh, name)
        if (property && !listeners.includes(name)) Object.defineProperty(this, name, property)
      }
    }
  }
}

module.exports = { entraTokenProvider, getEntraTokenPassword, entraConfig, retryingClient }
