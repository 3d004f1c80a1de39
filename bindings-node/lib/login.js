'use strict'

// How a connection logs in: the decision, the password function, and the explanation of a login error.

const { native } = require('./addon.js')
const {
  connectionPlan,
  defined,
  environmentOf,
  modeOf,
  portOf,
  readConnection,
  requireTls,
  sslFor,
  textOf,
  wrongType,
} = require('./connection.js')
const { classes, errorOf } = require('./errors.js')
const { warn } = require('./log.js')
const { TokenClient, documentOf } = require('./provider.js')
const { CredentialSource } = require('./credential_source.js')

/** @import * as published from './index.js' */
/** @import { Settings, Text } from './connection.js' */

/**
 * What a password function was created for.
 *
 * @typedef {{
 *   client: TokenClient, allowInsecure?: boolean, choosesNoUser?: boolean, user?: string, userSource?: string,
 *   usesConnector?: boolean, timeout?: unknown,
 * }} PasswordUse `timeout` is pg's connectionTimeoutMillis
 * @type {WeakMap<Function, PasswordUse>}
 */
const passwordUses = new WeakMap()

/**
 * Creates a password function. It must not be an arrow function: pg from 8.19 passes its parameters, earlier versions call the
 * function as a method of their client, and postgres.js as a method of its options. Only the application itself calls it with
 * neither.
 *
 * @param {PasswordUse} use
 * @returns {published.EntraPassword}
 */
function passwordFunction(use) {
  const { client } = use
  /**
   * @param {unknown} [connection]
   * @this {unknown}
   */
  async function password(connection) {
    const given = connection === undefined ? this : connection
    const checked = given === undefined ? undefined : checkConnection(use, given, this)
    if (checked !== undefined) await checked
    return client.tryToken() ?? client.token(waitOf(this, use))
  }
  passwordUses.set(password, use)
  // pg-native puts the text of the function into its connection string.
  Object.defineProperty(password, 'toString', { value: rejectText, configurable: true, writable: true })
  return Object.assign(password, {
    invalidate: (/** @type {string | undefined} */ token) => client.invalidate(token),
    stats: () => client.stats(),
  })
}

/**
 * Returns the options of a wait while pg connects. Its own time limit began before it called the password function, and its error
 * does not contain the cause, so a fifth of the time is left.
 *
 * @param {unknown} client pg's client
 * @param {Pick<PasswordUse, 'timeout'>} use
 */
function waitOf(client, { timeout }) {
  const { _connectionTimeoutMillis: ofClient } = /** @type {Record<string, unknown>} */ (client ?? {})
  const limit = Number(ofClient || timeout)
  return limit > 0 ? { limit: limit * 0.8 } : {}
}

/** @returns {string} */
function rejectText() {
  throw errorOf(
    'invalid_connection',
    'the password function was converted to a text: pg-native, which does so, is not supported',
    'Use the client of pg itself (`pg.Client`, `pg.Pool`), without NODE_PG_FORCE_NATIVE. In TypeORM set `nativeDriver: false`.',
  )
}

/**
 * Rejects a connection that must not get a token. Returns a promise only if the check has to wait.
 *
 * @param {PasswordUse} use
 * @param {unknown} connection
 * @param {unknown} [caller]
 */
function checkConnection(use, connection, caller) {
  const { client, allowInsecure, choosesNoUser } = use
  requireTls(connection, caller, allowInsecure)
  if (!choosesNoUser) return undefined
  const { user } = readConnection(connection)
  return isSystemAccount(user) ? checkUser(client, user, waitOf(caller, use)) : undefined
}

/**
 * @param {unknown} user
 * @returns {user is string}
 */
function isSystemAccount(user) {
  return typeof user === 'string' && user !== '' && !process.env.PGUSER && user === systemAccount()
}

/** Returns the account that pg uses if no user is configured. */
function systemAccount() {
  return process.platform === 'win32' ? process.env.USERNAME : process.env.USER
}

/**
 * pg does not report whether a user was configured. The account of the operating system counts as configured only if the token
 * contains the same name.
 *
 * @param {TokenClient} client
 * @param {string} user
 * @param {{ limit?: number }} wait
 */
async function checkUser(client, user, wait) {
  let login
  try {
    login = await client.login(wait)
  } catch (error) {
    if (error instanceof classes.PgEntraError && NO_TOKEN.has(error.code)) throw error
    // The token contains no name, so the user can have been configured.
    return
  }
  if (login.user === user) return
  throw errorOf(
    'invalid_connection',
    `the connection has no user, so pg uses the account of the operating system, '${user}', but the token is for '${login.user}'`,
    'Set `user` or PGUSER, or create the options with entraConfig, which determines the user.',
  )
}

/** Codes of errors with which there is no token. */
const NO_TOKEN = new Set([
  'credential_unavailable',
  'authentication_failed',
  'interaction_required',
  'credential_value',
  'custom_credential',
  'shutting_down',
  'untrusted_certificate',
])

/**
 * Decides how a connection logs in. The user is `undefined` if it has to be taken from the token.
 *
 * @param {object} given the options' own settings, by pg's names
 * @param {Text} text the settings of the connection string
 * @param {unknown} credential
 * @param {published.ConnectionOptions} options
 */
function decideLogin(given, text, credential, options) {
  const document = documentOf(options)
  const { host, port, database, user, password, ssl, connectionTimeoutMillis } = /** @type {Settings} */ (given)
  if (password !== undefined && password !== null && typeof password !== 'string' && typeof password !== 'function') {
    throw wrongType('password', 'a string or a function', password)
  }
  // A password function of pgentra is not a password of the connection's own, and has a credential already.
  const ofPassword = typeof password === 'function' ? passwordUses.get(password)?.client : undefined
  const ownPassword = ofPassword ? undefined : password
  if (ofPassword && (credential !== undefined || options.serviceConnector)) {
    throw errorOf(
      'invalid_connection',
      'password: the password function of pgentra has a credential already, and another one is given',
      'Leave out the password, or the credential and serviceConnector.',
    )
  }
  const settings = {
    ...text,
    ...defined({
      host: textOf('host', host),
      port: portOf(port),
      dbname: textOf('database', database),
      user: textOf('user', user) ?? (text.user ? undefined : options.user),
      // The decision does not depend on the password itself.
      password: ownPassword || text.password ? 'given' : undefined,
      sslmode: modeOf(ssl),
    }),
  }
  const plan = connectionPlan(settings, options, { hasCredential: credential !== undefined })
  plan.warnings.forEach(warn)
  const all = { ...plan.settings, ...text }
  if (!plan.uses_entra) {
    return {
      plan,
      text: all,
      ssl: sslFor({ sslmode: null }, ssl, all),
      user: user || plan.user || undefined,
      password: ownPassword || all.password,
    }
  }
  const described = { ...defined({ host: plan.host ?? undefined, user: plan.user ?? undefined }), ...document }
  const source = plan.credential ? CredentialSource.of(plan.credential) : credential
  return {
    plan,
    text: all,
    ssl: sslFor(plan, ssl, all),
    user: plan.user ?? undefined,
    use: {
      client: ofPassword ?? new TokenClient(source, described),
      allowInsecure: options.allowInsecureTransport,
      user: plan.user ?? undefined,
      userSource: plan.user_source ?? undefined,
      usesConnector: Boolean(options.serviceConnector),
      timeout: connectionTimeoutMillis,
    },
  }
}

/**
 * Decides how a connection logs in, takes the user from the token if necessary, and creates the password function.
 *
 * @param {Parameters<typeof decideLogin>} given
 */
async function loginOf(...given) {
  const { use, ...decision } = decideLogin(...given)
  if (use === undefined) return decision
  if (use.user === undefined) {
    const { user, source } = await use.client.login()
    Object.assign(use, { user, userSource: source })
  }
  return { ...decision, user: use.user, password: passwordFunction(use) }
}

/**
 * A failed login.
 *
 * @typedef {{
 *   sqlstate?: string, message: string, user?: string, userSource?: string, host?: string, token: string,
 *   usesConnector?: boolean,
 * }} FailedLogin
 */

/**
 * Returns lines to add to a server's message: which principal tried to log in as which role, and what to do. They are empty if
 * the error is not a login error.
 *
 * @param {FailedLogin} login
 */
function explainLoginError({ sqlstate, message, user = '', userSource, host, token, usesConnector }) {
  // The whole environment is read only after a login has failed.
  const unused = usesConnector || !host ? [] : [host, JSON.stringify(environmentOf(true))]
  return native.explainLoginError(sqlstate, message, user, userSource, token, ...unused)
}

/** Returns the SQLSTATE of a driver's error. The codes of socket errors are not SQLSTATEs. */
function sqlstateOf(/** @type {{ code?: unknown }} */ error) {
  return typeof error.code === 'string' && /^[0-9A-Z]{5}$/.test(error.code) ? error.code : undefined
}

module.exports = { decideLogin, explainLoginError, loginOf, passwordFunction, passwordUses, sqlstateOf, waitOf }
