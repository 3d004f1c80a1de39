'use strict'

const { native } = require('./addon.js')
const { wait } = require('./waits.js')
const { connectionPlan, connectionUrl, defined, portOf, readConfig, textOf } = require('./connection.js')
const { callNative, errorOf, safeName, tokenError } = require('./errors.js')
const { CredentialSource, isCredential, sourceOf, typeName } = require('./credential_source.js')

/** @import * as addon from '../addon' */
/** @import * as published from './index.js' */
/** @import { Signal } from './waits.js' */

/** The options of every entry point: their names in the engine's document, and their types. */
const OPTIONS = new Map(
  Object.entries(
    /** @satisfies {Record<Exclude<keyof published.EntraOptions, 'serviceConnector'>, [string, string]>} */ ({
      scope: ['scope', 'a string'],
      host: ['host', 'a string'],
      user: ['user', 'a string'],
      fallbackUsername: ['fallback_username', 'a string'],
      managementLookup: ['management_lookup', 'true or false'],
      mode: ['mode', 'a string'],
      cache: ['cache', 'true or false'],
      caFile: ['ca_file', 'a string'],
      timeout: ['timeout', 'a number of milliseconds'],
    }),
  ),
)
/** The options that the connection plan reads, and their types. `null` counts as not given. */
const CONNECTION_OPTIONS = new Map(
  Object.entries(
    /** @satisfies {Record<Exclude<keyof published.ConnectionOptions, keyof published.EntraOptions> | 'serviceConnector', string>} */ ({
      allowInsecureTransport: 'true or false',
      ignorePassword: 'true or false',
      requireEntra: 'true or false',
      serviceConnector: 'true, or the name or the prefix of a connection',
    }),
  ),
)

/**
 * Returns the engine's document of the options, without those of the connection.
 *
 * @param {unknown} options
 * @returns {Record<string, unknown>}
 */
function documentOf(options) {
  if (options === null || typeof options !== 'object' || Array.isArray(options) || isCredential(options)) {
    const type = isCredential(options) ? 'a credential' : typeName(options)
    throw errorOf(
      'invalid_configuration',
      `options: expected an object, got ${type}`,
      isCredential(options) ? 'Pass the credential before the options.' : undefined,
    )
  }
  /** @type {Record<string, unknown>} */
  const document = {}
  for (const [name, value] of Object.entries(options)) {
    const ofConnection = CONNECTION_OPTIONS.get(name)
    if (value === undefined || (value === null && ofConnection !== undefined)) continue
    const [key, expected] = OPTIONS.get(name) ?? ['', ofConnection]
    if (expected === undefined) {
      const all = [...OPTIONS.keys(), ...CONNECTION_OPTIONS.keys()].join(', ')
      throw errorOf('invalid_configuration', `option \`${safeName(name)}\`: unknown option; expected one of ${all}`)
    }
    checkType(name, expected, name === 'scope' && Array.isArray(value) && value.length === 1 ? value[0] : value)
    if (ofConnection === undefined) document[key] = value
  }
  if (Array.isArray(document.scope)) document.scope = document.scope[0]
  if (typeof document.timeout === 'number') document.timeout /= 1000
  return document
}

/**
 * Rejects the value of an option if it has another type.
 *
 * @param {string} name
 * @param {string} expected
 * @param {unknown} value
 */
function checkType(name, expected, value) {
  if (hasType(value, expected)) return
  const got = typeof value === 'number' && expected === 'a number of milliseconds' ? 'another number' : typeName(value)
  throw errorOf('invalid_configuration', `option \`${name}\`: expected ${expected}, got ${got}`)
}

/**
 * @param {unknown} value
 * @param {string} expected
 */
function hasType(value, expected) {
  if (expected === 'a string') return typeof value === 'string'
  if (expected === 'true or false') return typeof value === 'boolean'
  if (expected === 'a number of milliseconds') return typeof value === 'number' && value >= 0 && Number.isFinite(value)
  return typeof value === 'boolean' || (typeof value === 'string' && value !== '')
}

/**
 * Returns the credential and the document of a provider, with the settings of Service Connector's variables if requested.
 *
 * @param {unknown} credential
 * @param {published.EntraOptions} options
 * @returns {[unknown, Record<string, unknown>]}
 */
function withServiceConnector(credential, options) {
  const document = documentOf(options)
  if (!options.serviceConnector) return [credential, document]
  // A provider has no connection that could log in with a password.
  const { user, host } = options
  const hasCredential = credential !== undefined
  const plan = connectionPlan({ user, host }, { ...options, requireEntra: true }, { hasCredential })
  const found = { ...(plan.host && { host: plan.host }), ...(plan.user && { user: plan.user }) }
  return [plan.credential ? CredentialSource.of(plan.credential) : credential, { ...found, ...document }]
}

/** @typedef {{ abortSignal?: Signal, limit?: number }} Wait `limit` in milliseconds */
/** @typedef {(provider: addon.Provider, channel: addon.JsChannel, id: number) => void} Start */

/** Returns tokens and logins of one credential with one set of options. */
class TokenClient {
  /** @type {() => { provider: addon.Provider, end?: () => void }} the provider of one wait, and what to do after the wait */
  #providerOfWait = () => ({ provider: this.#provider })
  #provider
  /** @type {string | undefined} */
  #token
  /** @type {addon.Login | undefined} */
  #login

  /**
   * @param {unknown} credential
   * @param {Record<string, unknown>} document
   */
  constructor(credential, document) {
    const source = sourceOf(credential)
    const environment = source.environment()
    const { caFile } = source.handle
    const config = JSON.stringify({
      credential: JSON.parse(source.handle.document),
      ...(caFile !== null && { ca_file: caFile }),
      ...(!source.takesScope && { management_lookup: false }),
      ...document,
    })
    // Keeps a custom credential alive.
    this.credential = credential
    const create = (/** @type {addon.Credential | undefined} */ own) =>
      callNative(() => new native.Provider(config, environment, own))
    const settings = { caFile: document.ca_file, host: document.host, scope: document.scope }
    this.#provider = create(source.isCustom ? source.credential(environment, settings) : undefined)
    if (source.isCustom && document.cache === false) {
      this.#providerOfWait = () => {
        const { credential: uncached, end } = source.uncached(environment, settings)
        return { provider: create(uncached), end }
      }
    }
  }

  /** Returns a token if one is cached. */
  tryToken() {
    const found = callNative(() => this.#provider.tryToken(), tokenError)
    if (typeof found === 'string') this.#token = found
    return found === null ? undefined : this.#token
  }

  /**
   * Returns a token.
   *
   * @param {Wait} [options]
   * @returns {Promise<string>}
   */
  async token({ abortSignal, limit } = {}) {
    abortSignal?.throwIfAborted?.()
    return (
      this.tryToken() ?? this.#wait((provider, channel, id) => provider.startToken(channel, id, limit), abortSignal)
    )
  }

  /** Returns a login if one is cached. */
  tryLogin() {
    const found = callNative(() => this.#provider.tryLogin(), tokenError)
    if (found !== null && typeof found !== 'boolean') this.#login = found
    return found === null ? undefined : this.#login
  }

  /**
   * Returns a role name, a token, and the source of the name.
   *
   * @param {Wait} [options]
   * @returns {Promise<addon.Login>}
   */
  async login({ abortSignal, limit } = {}) {
    abortSignal?.throwIfAborted?.()
    return (
      this.tryLogin() ?? this.#wait((provider, channel, id) => provider.startLogin(channel, id, limit), abortSignal)
    )
  }

  /**
   * Reports that a server rejected `token` (default: the current one). Returns whether a newer token is available.
   *
   * @param {string} [token]
   * @param {Wait} [options]
   * @returns {Promise<boolean>}
   */
  async invalidate(token, { abortSignal, limit } = {}) {
    return this.#wait((provider, channel, id) => provider.startInvalidate(channel, id, token, limit), abortSignal)
  }

  /** @returns {published.ProviderStats} */
  stats() {
    return camelCased(JSON.parse(this.#provider.stats()))
  }

  #endWait(/** @type {(() => void) | undefined} */ end) {
    end?.()
  }

  /**
   * @template {string | boolean | addon.Login} Result
   * @param {Start} start
   * @param {Signal} [abortSignal]
   * @returns {Promise<Result>}
   */
  #wait(start, abortSignal) {
    const { provider, end } = this.#providerOfWait()
    /** @type {Promise<Result>} */
    const result = wait((channel, id) => start(provider, channel, id), tokenError, abortSignal)
    // Keeps this object, and with it a custom credential, alive during the wait.
    return result.finally(() => this.#endWait(end))
  }
}

/**
 * Returns `{expires_in: 1}` as `{expiresIn: 1}`.
 *
 * @param {any} value what JSON.parse returned
 * @returns {any}
 */
function camelCased(value) {
  if (Array.isArray(value)) return value.map(camelCased)
  if (value === null || typeof value !== 'object') return value
  const renamed = (/** @type {string} */ key) => key.replace(/_(\w)/g, (_, letter) => letter.toUpperCase())
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [renamed(key), camelCased(item)]))
}

/**
 * Checks the options of a wait.
 *
 * @param {published.WaitOptions} [options]
 * @returns {Wait}
 */
function waitOf(options) {
  if (options === undefined || options === null) return {}
  if (typeof options !== 'object' || Array.isArray(options) || 'aborted' in options) {
    const type = typeName(options)
    throw errorOf('invalid_configuration', `options: expected an object with signal or timeout, got ${type}`)
  }
  const { signal, abortSignal = signal, timeout, ...unknown } = options
  for (const name of Object.keys(unknown)) {
    throw errorOf('invalid_configuration', `option \`${safeName(name)}\`: unknown option; expected signal or timeout`)
  }
  if (timeout !== undefined && timeout !== null) checkType('timeout', 'a number of milliseconds', timeout)
  if (abortSignal && typeof abortSignal.addEventListener === 'function')
    return { abortSignal, limit: timeout ?? undefined }
  if (abortSignal !== undefined && abortSignal !== null) {
    throw errorOf('invalid_configuration', `option \`signal\`: expected an AbortSignal, got ${typeName(abortSignal)}`)
  }
  return { limit: timeout ?? undefined }
}

/** Returns a token or a login for PostgreSQL, which is refreshed before it expires. */
class TokenProvider {
  #client
  #options

  /**
   * @param {published.CredentialArgument} [credential]
   * @param {published.EntraOptions} [options]
   */
  constructor(credential, options = {}) {
    this.#options = options
    this.#client = new TokenClient(...withServiceConnector(credential, options))
  }

  /** @param {published.WaitOptions} [options] */
  async get(options) {
    return this.#client.token(waitOf(options))
  }

  /** @param {published.WaitOptions} [options] */
  async login(options) {
    const { user, password } = await this.#client.login(waitOf(options))
    return { user, password }
  }

  /**
   * @param {published.UrlSettings | string} [server]
   * @param {published.WaitOptions} [options]
   */
  async url(server = {}, options) {
    const { given, text } = readConfig(server)
    const { host, port, database, user, ...unknown } = given
    for (const name of Object.keys(unknown)) {
      throw errorOf(
        'invalid_connection',
        `setting \`${safeName(name)}\`: unknown; expected host, port, database or user`,
      )
    }
    const settings = {
      ...text,
      ...defined({
        host: textOf('host', host) ?? (text.host ? undefined : this.#options.host),
        port: portOf(port),
        dbname: textOf('database', database),
        user: textOf('user', user),
      }),
    }
    const { serviceConnector } = this.#options
    const plan = connectionPlan(settings, { serviceConnector, requireEntra: true })
    const login = await this.#client.login(waitOf(options))
    return connectionUrl({ ...plan.settings, ...settings }, settings.user ?? login.user, login.password)
  }

  /**
   * @param {string} [token]
   * @param {published.WaitOptions} [options]
   */
  async invalidate(token, options) {
    return this.#client.invalidate(token, waitOf(options))
  }

  stats() {
    return this.#client.stats()
  }
}

/**
 * Returns the statistics of all cached tokens of this process.
 *
 * @type {typeof published.stats}
 */
function stats() {
  return camelCased(JSON.parse(native.stats()))
}

module.exports = { TokenClient, TokenProvider, documentOf, stats, withServiceConnector }
