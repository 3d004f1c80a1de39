'use strict'

const { native, wait } = require('./native.js')
const { calling, errorOf, fromDoor, plain, shown } = require('./errors.js')
const { sourceOf } = require('./source.js')

/** @import * as addon from '../addon' */
/** @import * as published from './index.js' */
/** @import { Signal } from './native.js' */

/** The options of every door, and their names in the engine's document. */
const OPTIONS = new Map(
  Object.entries(
    /** @satisfies {Record<keyof published.EntraOptions, string>} */ ({
      scope: 'scope',
      host: 'host',
      user: 'user',
      fallbackUsername: 'fallback_username',
      managementLookup: 'management_lookup',
      mode: 'mode',
      cache: 'cache',
      caFile: 'ca_file',
      timeout: 'timeout',
    }),
  ),
)
/** What only doors to a driver take. */
const CONNECTION_OPTIONS = ['allowInsecureTransport', 'requireEntra']

/** The engine's document of the options given, without those of the connection. */
function documentOf(/** @type {unknown} */ options) {
  if (options === null || typeof options !== 'object') {
    throw errorOf(
      'invalid_configuration',
      `options: expected an object, got ${options === null ? 'null' : typeof options}`,
    )
  }
  /** @type {Record<string, unknown>} */
  const document = {}
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || CONNECTION_OPTIONS.includes(name)) continue
    const key = OPTIONS.get(name)
    if (key === undefined) {
      const all = [...OPTIONS.keys(), ...CONNECTION_OPTIONS].join(', ')
      throw errorOf('invalid_configuration', `option \`${shown(name)}\`: not known here; known are ${all}`)
    }
    document[key] = plain(name, value)
  }
  if (Array.isArray(document.scope) && document.scope.length === 1) document.scope = document.scope[0]
  if (typeof document.timeout === 'number') document.timeout /= 1000
  return document
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
    this.#doors = new Doors(credential, documentOf(options))
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

module.exports = { Doors, TokenProvider, documentOf, stats }
