'use strict'

const { native, wait } = require('./native.js')
const { planOf } = require('./connection.js')
const { calling, errorOf, fromDoor, shown } = require('./errors.js')
const { Source, isCredential, sourceOf, typeName } = require('./source.js')

/** @import * as addon from '../addon' */
/** @import * as published from './index.js' */
/** @import { Signal } from './native.js' */

/** The options of every door: their names in the engine's document, and their types. */
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
/** What the connection's plan takes. */
const CONNECTION_OPTIONS = ['allowInsecureTransport', 'requireEntra', 'serviceConnector']

/**
 * The engine's document of the options given, without those of the connection.
 *
 * @param {unknown} options
 * @returns {Record<string, unknown>}
 */
function documentOf(options) {
  if (options === null || typeof options !== 'object' || Array.isArray(options) || isCredential(options)) {
    const came = isCredential(options) ? 'a credential' : typeName(options)
    throw errorOf(
      'invalid_configuration',
      `options: expected an object, got ${came}`,
      isCredential(options) ? 'The credential stands before the options.' : undefined,
    )
  }
  /** @type {Record<string, unknown>} */
  const document = {}
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || CONNECTION_OPTIONS.includes(name)) continue
    const [key, expected] = OPTIONS.get(name) ?? []
    if (key === undefined || expected === undefined) {
      const all = [...OPTIONS.keys(), ...CONNECTION_OPTIONS].join(', ')
      throw errorOf('invalid_configuration', `option \`${shown(name)}\`: not known here; known are ${all}`)
    }
    if (!hasType(name === 'scope' && Array.isArray(value) && value.length === 1 ? value[0] : value, expected)) {
      throw errorOf('invalid_configuration', `option \`${name}\`: expected ${expected}, got ${typeName(value)}`)
    }
    document[key] = value
  }
  if (Array.isArray(document.scope)) document.scope = document.scope[0]
  if (typeof document.timeout === 'number') document.timeout /= 1000
  return document
}

/**
 * @param {unknown} value
 * @param {string} expected
 */
function hasType(value, expected) {
  if (expected === 'a string') return typeof value === 'string'
  if (expected === 'true or false') return typeof value === 'boolean'
  return typeof value === 'number' && value >= 0 && Number.isFinite(value)
}

/**
 * Credential and options of a provider, with what Service Connector's variables say where they are wanted.
 *
 * @param {unknown} credential
 * @param {published.EntraOptions} options
 * @returns {[unknown, Record<string, unknown>]}
 */
function withConnector(credential, options) {
  const document = documentOf(options)
  if (!options.serviceConnector) return [credential, document]
  // There is no connection here that could log in with a password.
  const { user, host } = options
  const plan = planOf({ user, host }, { ...options, requireEntra: true }, { hasCredential: credential !== undefined })
  const found = { ...(plan.host && { host: plan.host }), ...(plan.user && { user: plan.user }) }
  return [plan.credential ? new Source(plan.credential) : credential, { ...found, ...document }]
}

/** @typedef {{ abortSignal?: Signal, limit?: number }} Wait `limit` in milliseconds */
/** @typedef {(provider: addon.Provider, courier: addon.Courier, id: number) => void} Start */

/** A token or a login of one credential with one set of options. */
class Doors {
  /** @type {() => { provider: addon.Provider, end?: () => void }} the provider that a wait is for, and what ends it */
  #make = () => ({ provider: this.#provider })
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
    const config = JSON.stringify({
      credential: source.document,
      ...(source.caFile !== undefined && { ca_file: source.caFile }),
      ...(!source.takesScope && { management_lookup: false }),
      ...document,
    })
    // The cell of a foreign credential lives as long as the object.
    this.credential = credential
    const provider = (/** @type {addon.Credential | undefined} */ own) =>
      calling(() => new native.Provider(config, environment, own))
    const settings = { caFile: document.ca_file, host: document.host, scope: document.scope }
    this.#provider = provider(source.isForeign ? source.credential(environment, settings) : undefined)
    if (source.isForeign && document.cache === false) {
      this.#make = () => {
        const { credential: uncached, end } = source.uncached(environment, settings)
        return { provider: provider(uncached), end }
      }
    }
  }

  /** A token, if one is cached. */
  tryToken() {
    const found = calling(() => this.#provider.tryToken(), fromDoor)
    if (typeof found === 'string') this.#token = found
    return found === null ? undefined : this.#token
  }

  /**
   * A token.
   *
   * @param {Wait} [options]
   * @returns {Promise<string>}
   */
  async token({ abortSignal, limit } = {}) {
    abortSignal?.throwIfAborted?.()
    return (
      this.tryToken() ?? this.#wait((provider, courier, id) => provider.startToken(courier, id, limit), abortSignal)
    )
  }

  /** A login, if one is cached. */
  tryLogin() {
    const found = calling(() => this.#provider.tryLogin(), fromDoor)
    if (found !== null && typeof found !== 'boolean') this.#login = found
    return found === null ? undefined : this.#login
  }

  /**
   * Role name, token, and where the name came from.
   *
   * @param {Wait} [options]
   * @returns {Promise<addon.Login>}
   */
  async login({ abortSignal, limit } = {}) {
    abortSignal?.throwIfAborted?.()
    return (
      this.tryLogin() ?? this.#wait((provider, courier, id) => provider.startLogin(courier, id, limit), abortSignal)
    )
  }

  /**
   * Tells that a server refused `token` (the current one, if left out); whether there is a newer one now.
   *
   * @param {string} [token]
   * @param {Wait} [options]
   * @returns {Promise<boolean>}
   */
  async invalidate(token, { abortSignal, limit } = {}) {
    return this.#wait((provider, courier, id) => provider.startInvalidate(courier, id, token, limit), abortSignal)
  }

  /** @returns {published.ProviderStats} */
  stats() {
    return camel(JSON.parse(this.#provider.stats()))
  }

  /**
   * @template {string | boolean | addon.Login} Result
   * @param {Start} start
   * @param {Signal} [abortSignal]
   * @returns {Promise<Result>}
   */
  #wait(start, abortSignal) {
    const { provider, end } = this.#make()
    /** @type {Promise<Result>} */
    const waited = wait((courier, id) => start(provider, courier, id), fromDoor, abortSignal)
    return waited.finally(end)
  }
}

/**
 * `{expires_in: 1}` as `{expiresIn: 1}`.
 *
 * @param {any} value what JSON.parse made
 * @returns {any}
 */
function camel(value) {
  if (Array.isArray(value)) return value.map(camel)
  if (value === null || typeof value !== 'object') return value
  const named = (/** @type {string} */ key) => key.replace(/_(\w)/g, (_, letter) => letter.toUpperCase())
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [named(key), camel(item)]))
}

/** A token and a login for PostgreSQL, kept fresh, for whoever builds connections themselves. */
class TokenProvider {
  #doors

  /**
   * @param {published.CredentialArgument} [credential]
   * @param {published.EntraOptions} [options]
   */
  constructor(credential, options = {}) {
    this.#doors = new Doors(...withConnector(credential, options))
  }

  /** @param {published.WaitOptions} [options] */
  get(options) {
    return this.#doors.token(options)
  }

  /** @param {published.WaitOptions} [options] */
  async login(options) {
    const { user, password } = await this.#doors.login(options)
    return { user, password }
  }

  /**
   * @param {string} [token]
   * @param {published.WaitOptions} [options]
   */
  invalidate(token, options) {
    return this.#doors.invalidate(token, options)
  }

  stats() {
    return this.#doors.stats()
  }
}

/**
 * Every cached token of this process.
 *
 * @type {typeof published.stats}
 */
function stats() {
  return camel(JSON.parse(native.stats()))
}

module.exports = { Doors, TokenProvider, documentOf, stats, withConnector }
