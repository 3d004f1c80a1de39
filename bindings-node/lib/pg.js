'use strict'

// pg, and everything that takes its options: Knex, TypeORM, Drizzle, Kysely, Prisma's adapter, MikroORM.

const { native } = require('./native.js')
const {
  TLS_SETTINGS,
  environmentOf,
  modeOf,
  planOf,
  portOf,
  read,
  readConfig,
  requireTls,
  sslFor,
  textOf,
  wrongType,
} = require('./connection.js')
const { classes, errorOf } = require('./errors.js')
const { warn } = require('./log.js')
const { Doors, documentOf, withConnector } = require('./provider.js')
const { Source, isCredential, typeName } = require('./source.js')

/** @import { EventEmitter } from 'node:events' */
/** @import * as published from './index.js' */
/** @import { Password, Plan, Settings, Text } from './connection.js' */

/**
 * What is known of a password function.
 *
 * @typedef {{
 *   doors: Doors, allowInsecure?: boolean, choosesNoUser?: boolean, user?: string, userSource?: string,
 *   usesConnector?: boolean,
 * }} Facts
 * @type {WeakMap<Function, Facts>}
 */
const known = new WeakMap()

/**
 * A password function for the `password` of pg's Client and Pool.
 *
 * @type {typeof published.entraTokenProvider}
 */
function entraTokenProvider(credential, options = {}) {
  const doors = new Doors(...withConnector(credential, options))
  return passwordFunction({
    doors,
    allowInsecure: options.allowInsecureTransport,
    choosesNoUser: true,
    usesConnector: Boolean(options.serviceConnector),
  })
}

/**
 * The current token. Also a password function as it is: drivers call it with the connection's parameters, or as a method of
 * what has them.
 *
 * @type {typeof published.getEntraTokenPassword}
 * @this {unknown}
 */
async function getEntraTokenPassword(credential, scope) {
  if (!isCredential(credential)) {
    const isParameters =
      typeof credential === 'object' && credential !== null && ('host' in credential || 'ssl' in credential)
    if (isParameters || (credential === undefined && this !== undefined && !isOurModule(this))) {
      return entraTokenProvider().call(this, credential)
    }
  }
  return new Doors(credential, documentOf({ scope })).token()
}

/** `pgentra.getEntraTokenPassword()` is a direct call too. */
function isOurModule(/** @type {unknown} */ caller) {
  try {
    const { getEntraTokenPassword: member } = /** @type {{ getEntraTokenPassword?: unknown }} */ (caller)
    return member === getEntraTokenPassword
  } catch {
    return false
  }
}

/**
 * pg from 8.19 hands over its parameters; before, it calls the function as a method of its client, and postgres.js as one of
 * its options. So this must not be an arrow function. Only a call with neither is one of the application itself.
 *
 * @param {Facts} facts
 * @returns {published.EntraPassword}
 */
function passwordFunction(facts) {
  /**
   * @param {unknown} [connection]
   * @this {unknown}
   */
  async function password(connection) {
    const given = connection === undefined ? this : connection
    const checked = given === undefined ? undefined : check(facts, given, this)
    if (checked !== undefined) await checked
    return doors.token()
  }
  known.set(password, facts)
  const { doors } = facts
  // Who only has the function can still tell that the server refused a token.
  return Object.assign(password, {
    invalidate: (/** @type {string | undefined} */ token) => doors.invalidate(token),
    stats: () => doors.stats(),
  })
}

/**
 * Refuses what must not happen with a token. Only what has to wait returns a promise.
 *
 * @param {Facts} facts
 * @param {unknown} connection
 * @param {unknown} [caller]
 */
function check({ doors, allowInsecure, choosesNoUser }, connection, caller) {
  requireTls(connection, caller, allowInsecure)
  if (!choosesNoUser) return undefined
  const { user } = read(connection)
  return isAccountOfSystem(user) ? checkUser(doors, user) : undefined
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
  'custom_credential',
  'shutting_down',
  'untrusted_certificate',
])

/** The account that pg logs in as where nobody names one. */
function accountOfSystem() {
  return process.platform === 'win32' ? process.env.USERNAME : process.env.USER
}

/**
 * Decides how the connection of a config logs in, and makes what its driver has to be given.
 *
 * @param {object} given what the config sets itself, by pg's names
 * @param {Text} text its connection string's settings
 * @param {unknown} credential
 * @param {published.ConnectionOptions} options
 */
async function loginOf(given, text, credential, options) {
  const document = documentOf(options)
  const { host, port, database, user, password, ssl } = /** @type {Settings} */ (given)
  if (password !== undefined && password !== null && typeof password !== 'string' && typeof password !== 'function') {
    throw wrongType('password', 'a string or a function', password)
  }
  // One of our functions is not a password of the connection's own, and brings its credential.
  const ours = typeof password === 'function' ? known.get(password)?.doors : undefined
  const own = ours ? undefined : password
  if (ours && (credential !== undefined || options.serviceConnector)) {
    throw errorOf(
      'invalid_connection',
      'password: a password function of pgentra has a credential already, and another one is given',
      'Leave out the password, or the credential and serviceConnector.',
    )
  }
  const settings = {
    ...text,
    ...set({
      host: textOf('host', host),
      port: portOf(port),
      dbname: textOf('database', database),
      user: textOf('user', user) ?? (text.user ? undefined : options.user),
      // Not the password itself: it takes no part in the decision.
      password: own || text.password ? 'given' : undefined,
      sslmode: modeOf(ssl),
    }),
  }
  const plan = planOf(settings, options, { hasCredential: credential !== undefined })
  plan.warnings.forEach(warn)
  const all = { ...plan.settings, ...text }
  const connection = {
    plan,
    text: all,
    ssl: plan.uses_entra ? sslFor(plan, ssl, all) : sslFor({ sslmode: null }, ssl, all),
  }
  if (!plan.uses_entra) {
    return { ...connection, user: user || plan.user || undefined, password: own || all.password }
  }
  const described = { ...set({ host: plan.host ?? undefined, user: plan.user ?? undefined }), ...document }
  const doors = ours ?? new Doors(plan.credential ? new Source(plan.credential) : credential, described)
  const login = plan.user === null ? await doors.login() : { user: plan.user, source: plan.user_source ?? undefined }
  const facts = {
    doors,
    allowInsecure: options.allowInsecureTransport,
    user: login.user,
    userSource: login.source,
    usesConnector: Boolean(options.serviceConnector),
  }
  return { ...connection, user: login.user, password: passwordFunction(facts) }
}

/**
 * Without what is not set.
 *
 * @template {Record<string, unknown>} Values
 * @param {Values} values
 * @returns {Partial<Values>}
 */
function set(values) {
  return /** @type {Partial<Values>} */ (
    Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== ''))
  )
}

/**
 * The settings of a connection string by pg's names.
 *
 * @param {Text} text
 * @returns {Settings}
 */
function namedForPg({ dbname, port, user: _, password: __, ...rest }) {
  for (const name of TLS_SETTINGS) delete rest[name]
  return set({ ...rest, database: dbname, port: portOf(port) })
}

/**
 * The options of pg with user, password function and TLS put in.
 *
 * @param {Settings | string | URL} [config]
 * @param {published.CredentialArgument} [credential]
 * @param {published.EntraConfigOptions} [options]
 * @returns {Promise<Settings>}
 */
async function entraConfig(config = {}, credential, options = {}) {
  const { given, text } = readConfig(config)
  oneHost(text)
  const { text: all, user, password, ssl } = await loginOf(given, text, credential, options)
  oneHost(all)
  const { ssl: _, ...rest } = given
  return { ...namedForPg(all), ...set(rest), ...set({ user, password, ssl }) }
}

function oneHost(/** @type {Text} */ { host }) {
  if (!host?.includes(',')) return
  throw errorOf(
    'invalid_connection',
    'the connection string names several servers, and pg connects to one',
    'Name one server, or use postgres.js with entraPostgresConfig.',
  )
}

/**
 * The options of MikroORM 6. It calls a password function without an argument and not as a method, so that the function cannot
 * tell where the token will go. So it gets a function that hands on the one which pg will call.
 *
 * @param {Settings | string | URL} [config]
 * @param {published.CredentialArgument} [credential]
 * @param {published.EntraConfigOptions} [options]
 */
async function entraMikroOrmConfig(config = {}, credential, options = {}) {
  const settings = await entraConfig(config, credential, options)
  const { PGHOST, PGPORT, PGDATABASE } = process.env
  // MikroORM has defaults in the place of pg's variables.
  const { host = PGHOST, port = PGPORT, database = PGDATABASE, user, password, ...connection } = settings
  return {
    ...set({ host, port: portOf(port), user, dbName: database }),
    password: typeof password === 'function' ? async () => ({ password }) : password,
    driverOptions: { connection },
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
 * @param {{ user?: string, host?: string }} client
 * @param {Password} source the password function
 * @param {string} token
 */
function explained(error, { user, host }, source, token) {
  const { user: workedOut, userSource, usesConnector } = known.get(source) ?? {}
  // Another user may have been put in since.
  const from = (user === workedOut ? userSource : undefined) ?? 'user'
  // Only now, where a login has failed.
  const unused = usesConnector || !host ? [] : [host, JSON.stringify(environmentOf(true))]
  const given = /** @type {const} */ ([sqlstateOf(error), String(error.message), String(user ?? ''), from, token])
  const lines = native.explainRefusal(...given, ...unused)
  if (lines) error.message += `\n${lines}`
  return error
}

/** A config whose connection string does not take away the password function beside it. */
function keepingPassword(/** @type {(Settings & { connectionString?: unknown })=} */ config) {
  if (typeof config?.password !== 'function' || !config.connectionString) return config
  const { given, text } = readConfig(config)
  oneHost(text)
  const { ssl } = config
  return {
    ...namedForPg(text),
    ...set({ user: text.user }),
    ...set(given),
    ...set({ ssl: sslFor({ sslmode: null }, ssl, text) }),
  }
}

/**
 * What is used of pg's `Client`, of which its own types tell a part.
 *
 * @typedef {(error?: Refusal | null, ...rest: unknown[]) => void} Callback
 * @typedef {new (config?: Settings) => {
 *   user?: string, host?: string, password?: string | Password | null, connection: EventEmitter & { stream: { destroy(): void } },
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
  if (typeof Client !== 'function' || typeof Client.prototype?.connect !== 'function') {
    throw errorOf(
      'invalid_connection',
      `Client: expected the class Client of pg, got ${isCredential(Client) ? 'a function or a credential' : typeName(Client)}`,
      'Pass `pg.Client`.',
    )
  }
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
        if (renewal === undefined) return callback(explained(error, this, source, token))
        renewal.then(
          (isRenewed) => {
            if (!isRenewed) return callback(explained(error, this, source, token))
            this.#isRetry = true
            this.#startAnew()
            this.connect(callback)
          },
          () => callback(explained(error, this, source, token)),
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

module.exports = {
  entraTokenProvider,
  getEntraTokenPassword,
  entraConfig,
  entraMikroOrmConfig,
  retryingClient,
  known,
  loginOf,
  namedForPg,
  set,
}
