'use strict'

// What a connection's own settings must be before a token goes over it, and what pg makes of its settings.

const { native } = require('./native.js')
const { calling, errorOf, fromDocument } = require('./errors.js')
const { log } = require('./log.js')
const { hasGetToken } = require('./source.js')

/** @import { EntraPassword } from './index.js' */

/**
 * What is read of a config of pg, and of the parameters that it hands to a password function, which may be the program's.
 *
 * @typedef {(() => string | Promise<string>) & Partial<Pick<EntraPassword, 'invalidate' | 'stats'>>} Password
 * @typedef {{ user?: string, password?: string | Password, host?: string, ssl?: unknown }} Settings
 * @typedef {{ user: unknown, host: string, ssl?: unknown }} Connection
 */

/**
 * The `ssl` to connect with, as pg takes it: the one given, or `true` where none is set for a place across the network.
 * Throws where TLS is switched off for such a place.
 *
 * @param {unknown} ssl
 * @param {string} [host]
 * @param {boolean} [allowInsecure]
 */
function secureSsl(ssl, host, allowInsecure) {
  const places = [host ?? process.env.PGHOST ?? '']
  const read = (/** @type {string} */ document) => {
    const error = fromDocument(document)
    return error.code === 'insecure_transport' ? insecure(places[0]) : error
  }
  const secure = calling(() => native.secureSslmode(sslmodeOf(ssl), places, allowInsecure === true), read)
  return secure === null ? ssl : true
}

/** An `ssl` setting of pg or postgres.js as libpq would spell it. */
function sslmodeOf(/** @type {unknown} */ ssl) {
  if (ssl === undefined || ssl === null) return process.env.PGSSLMODE
  if (ssl === false) return 'disable'
  return typeof ssl === 'string' && ['disable', 'allow', 'prefer'].includes(ssl) ? ssl : 'require'
}

function insecure(/** @type {string=} */ host) {
  return errorOf(
    'insecure_transport',
    `the token would cross the network to ${host || 'the server'} without TLS`,
    'Set `ssl: true`, or use entraConfig, which does; or `allowInsecureTransport: true` for a server you trust on that path.',
  )
}

/**
 * Refuses what pg is about to do with a token: it hands its parameters to a password function.
 *
 * @param {Connection} connection
 * @param {boolean} [allowInsecure]
 */
function requireTls({ ssl, host }, allowInsecure) {
  if (!ssl || ssl === 'disable' || ssl === 'allow' || ssl === 'prefer') secureSsl(false, host, allowInsecure)
}

/**
 * Whether the argument of a password function is pg's own parameters.
 *
 * @param {unknown} value
 * @returns {value is Connection}
 */
function isConnection(value) {
  return typeof value === 'object' && value !== null && !hasGetToken(value) && 'host' in value && 'user' in value
}

/** The account that pg logs in as where nobody names one. */
function accountOfSystem() {
  return process.platform === 'win32' ? process.env.USERNAME : process.env.USER
}

/**
 * A config of pg without its connection string: pg lets the string win over everything beside it, also where it says
 * nothing, so that a password function is lost.
 *
 * @param {string | Settings & { connectionString?: unknown }} config
 * @returns {Settings}
 */
function expand(config) {
  const { connectionString, ...rest } = typeof config === 'string' ? { connectionString: config } : config
  return connectionString === undefined || connectionString === null ? rest : { ...rest, ...parse(connectionString) }
}

/** A connection string as pg reads it, without what it leaves out. */
function parse(/** @type {unknown} */ text) {
  const invalid = () =>
    // Not the text: it may hold a password.
    errorOf(
      'invalid_connection',
      'the connection string cannot be read',
      'It looks like postgres://user@host:5432/database?sslmode=verify-full.',
    )
  if (typeof text !== 'string') throw invalid()
  /** @type {Record<string, string | undefined>} */
  const found = {}
  if (text.startsWith('/')) {
    const [host, database] = text.split(' ')
    return defined({ host, database })
  }
  try {
    // A Unix socket's path in place of the host has none in the URL.
    const url = new URL(text.replace('@/', '@-/'), 'postgres://-')
    for (const [name, value] of url.searchParams) found[name] = value
    found.user ||= decodeURIComponent(url.username)
    found.password ||= decodeURIComponent(url.password)
    found.host ||= url.hostname === '-' ? '' : decodeURIComponent(url.hostname)
    found.port ||= url.port
    found.database = decodeURIComponent(url.pathname.slice(1)) || found.database
  } catch {
    throw invalid()
  }
  const { port, ssl: given, sslmode, sslcert, sslkey, sslrootcert, ...rest } = found
  let ssl
  if (sslmode || sslcert || sslkey || sslrootcert) ssl = sslOf(sslmode, { cert: sslcert, key: sslkey, ca: sslrootcert })
  else if (given !== undefined) ssl = given !== 'false' && given !== '0'
  return defined({ ...rest, ssl, port: port && Number(port) })
}

/**
 * @param {string | undefined} sslmode
 * @param {Record<string, string | undefined>} files
 */
function sslOf(sslmode, files) {
  if (sslmode === 'disable') return false
  const { readFileSync } = require('node:fs')
  /** @type {Record<string, string | boolean>} */
  const ssl = {}
  for (const [name, file] of Object.entries(files)) {
    if (file && file !== 'system') ssl[name] = readFileSync(file, 'utf8')
  }
  if (sslmode === 'no-verify') ssl.rejectUnauthorized = false
  return Object.keys(ssl).length === 0 ? true : ssl
}

function defined(/** @type {Record<string, unknown>} */ settings) {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== '' && value !== undefined))
}

const warned = new Set()

/**
 * What becomes of a connection that has a user and a password of its own: Entra is not used.
 *
 * @param {string} [host]
 * @param {boolean} [requireEntra]
 */
function passwordStays(host, requireEntra) {
  if (requireEntra === true) {
    throw errorOf(
      'invalid_connection',
      'requireEntra: the connection has a password of its own, so Entra would not be used',
      "Remove the password from the connection's settings.",
    )
  }
  const place = host ?? 'the local server'
  if (warned.has(place)) return
  warned.add(place)
  log(
    'warn',
    `Entra is not used: the connection to ${place} has a user and a password of its own. Remove the password, or pass requireEntra: true to make this an error.`,
  )
}

module.exports = { secureSsl, requireTls, isConnection, accountOfSystem, expand, passwordStays }
