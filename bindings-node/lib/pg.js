'use strict'

// pg, and all packages that take its options: Knex, TypeORM, Drizzle, Kysely, Prisma's adapter, MikroORM.

const { TLS_SETTINGS, defined, portOf, readConfig } = require('./connection.js')
const { errorOf } = require('./errors.js')
const { isCredential } = require('./credential_source.js')
const { loginOf, passwordFunction } = require('./login.js')
const { TokenClient, documentOf, withServiceConnector } = require('./provider.js')

/** @import * as published from './index.js' */
/** @import { Settings, Text } from './connection.js' */

/**
 * Creates a password function for the `password` of pg's Client and Pool.
 *
 * @type {typeof published.entraTokenProvider}
 */
function entraTokenProvider(credential, options = {}) {
  return passwordFunction({
    client: new TokenClient(...withServiceConnector(credential, options)),
    allowInsecure: options.allowInsecureTransport,
    choosesNoUser: true,
    usesConnector: Boolean(options.serviceConnector),
  })
}

/**
 * Returns the current token. It is also a password function itself: drivers call it with the connection's parameters, or as a
 * method of an object that contains them.
 *
 * @type {typeof published.getEntraTokenPassword}
 * @this {unknown}
 */
async function getEntraTokenPassword(credential, scope) {
  if (!isCredential(credential)) {
    const isParameters =
      typeof credential === 'object' && credential !== null && ('host' in credential || 'ssl' in credential)
    if (isParameters || (credential === undefined && this !== undefined && !isPackage(this))) {
      return entraTokenProvider().call(this, credential)
    }
  }
  return new TokenClient(credential, documentOf({ scope })).token()
}

/** `pgentra.getEntraTokenPassword()` is a direct call, not one by a driver. */
function isPackage(/** @type {unknown} */ caller) {
  try {
    const { getEntraTokenPassword: member } = /** @type {{ getEntraTokenPassword?: unknown }} */ (caller)
    return member === getEntraTokenPassword
  } catch {
    return false
  }
}

/**
 * Returns the settings of a connection string by pg's names.
 *
 * @param {Text} text
 * @returns {Settings}
 */
function namedForPg({ dbname, port, user: _, password: __, ...rest }) {
  for (const name of TLS_SETTINGS) delete rest[name]
  return defined({ ...rest, database: dbname, port: portOf(port) })
}

/**
 * Returns pg's options with user, password function and TLS.
 *
 * @param {Settings | string | URL} [config]
 * @param {published.CredentialArgument} [credential]
 * @param {published.EntraConfigOptions} [options]
 * @returns {Promise<Settings>}
 */
async function entraConfig(config = {}, credential, options = {}) {
  const { given, text } = readConfig(config)
  requireOneHost(text)
  requireOneHost(given)
  const { text: all, user, password, ssl } = await loginOf(given, text, credential, options)
  requireOneHost(all)
  return configForPg(given, all, { user, password, ssl })
}

/**
 * @param {Record<string, unknown>} given
 * @param {Text} text
 * @param {{ user?: string, password?: Settings['password'], ssl?: Settings['ssl'] }} login
 * @returns {Settings}
 */
function configForPg({ ssl: _, ...given }, text, login) {
  return { ...namedForPg(text), ...defined(given), ...defined(login) }
}

function requireOneHost(/** @type {{ host?: unknown }} */ { host }) {
  if (typeof host !== 'string' || !host.includes(',')) return
  throw errorOf(
    'invalid_connection',
    'the settings have several servers, and pg connects to one',
    'Set one server, or use postgres.js with entraPostgresConfig.',
  )
}

/**
 * Returns the options of MikroORM 6. It calls a password function without an argument and not as a method, so that the function
 * cannot determine the connection. The function that it gets here passes on the one that pg calls.
 *
 * @param {Settings | string | URL} [config]
 * @param {published.CredentialArgument} [credential]
 * @param {published.EntraConfigOptions} [options]
 */
async function entraMikroOrmConfig(config = {}, credential, options = {}) {
  const settings = await entraConfig(config, credential, options)
  const { PGHOST, PGPORT, PGDATABASE } = process.env
  // MikroORM has its own defaults and does not read pg's variables.
  const { host = PGHOST, port = PGPORT, database = PGDATABASE, user, password, ...connection } = settings
  return {
    ...defined({ host, port: portOf(port), user, dbName: database }),
    password: typeof password === 'function' ? async () => ({ password }) : password,
    driverOptions: { connection },
  }
}

module.exports = {
  configForPg,
  entraConfig,
  entraMikroOrmConfig,
  entraTokenProvider,
  getEntraTokenPassword,
  namedForPg,
  requireOneHost,
}
