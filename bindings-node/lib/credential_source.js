'use strict'

// Resolves a credential argument. The credentials of `pgentra/identity` are documents for the engine. Any other object with
// `getToken`, and any function, is a custom credential: the engine requests its tokens on the thread that it belongs to, and they
// are cached as long as the object exists.

const { isDate } = require('node:util/types')
const { native } = require('./addon.js')
const { channel, customCredentials, causes, nextId } = require('./waits.js')
const { callNative, errorOf } = require('./errors.js')

/** @import { CustomCredential, CustomTokenRequest } from '../addon' */
/** @import { CredentialArgument, GetTokenOptions, TokenCredential } from './index.js' */

/**
 * @typedef {InstanceType<typeof native.CredentialHandle>} CredentialHandle
 * @typedef {{ caFile?: unknown, host?: unknown, scope?: unknown }} CredentialSettings as given, not yet checked
 * @typedef {(request: CustomTokenRequest) => void} RequestToken
 */

/** A credential that is not built yet, and the custom credentials that take part in it, in the order of the handle. */
class CredentialSource {
  /**
   * @param {CredentialHandle} handle
   * @param {CredentialArgument[]} [members]
   */
  constructor(handle, members = []) {
    this.handle = handle
    this.members = members
    /**
     * By settings. The tokens of custom credentials are cached in these.
     *
     * @type {Map<string | undefined, InstanceType<typeof native.Credential>>}
     */
    this.credentials = new Map()
  }

  /**
   * @param {Record<string, unknown>} document refers to `members` by index
   * @param {CredentialSource[]} [members]
   * @param {{ variables?: Record<string, string>, caFile?: string }} [transport] proxies and certificate authorities
   */
  static of(document, members = [], { variables = {}, caFile } = {}) {
    const handles = members.map(({ handle }) => handle)
    const text = JSON.stringify(document)
    return new CredentialSource(
      callNative(() => new native.CredentialHandle(text, handles, JSON.stringify(variables), caFile)),
      members.flatMap(({ members }) => members),
    )
  }

  /** Whether a custom credential takes part. */
  get isCustom() {
    return this.members.length > 0
  }

  /** Whether the credential reads the scope. If not, it would return the database's token for a management token. */
  get takesScope() {
    const [member] = this.members
    return !this.handle.isCustom || typeof member !== 'function' || member.length > 0
  }

  /** Returns the environment of the credential as JSON: the process's, and the credential's own proxies. */
  environment() {
    /** @type {Record<string, string>} */
    const variables = {}
    for (const name of knownVariables()) {
      const value = process.env[name]
      if (value !== undefined) variables[name] = value
    }
    return JSON.stringify({ ...variables, ...JSON.parse(this.handle.variables) })
  }

  /**
   * Returns the engine's credential for these settings.
   *
   * @param {string} environment
   * @param {CredentialSettings} [settings]
   */
  credential(environment, settings = {}) {
    // A custom credential that is not in a chain reads none of the settings.
    const key = this.handle.isCustom ? '' : JSON.stringify([environment, settings])
    let credential = this.credentials.get(key)
    if (credential === undefined) {
      credential = this.#build(environment, settings)
      if (this.credentials.size >= 64) this.credentials.delete(this.credentials.keys().next().value)
      this.credentials.set(key, credential)
    }
    return credential
  }

  /**
   * Returns a credential without a shared cache, which calls the custom credentials in the asynchronous context of the caller.
   *
   * @param {string} environment
   * @param {CredentialSettings} [settings]
   */
  uncached(environment, settings = {}) {
    const { AsyncResource } = require('node:async_hooks')
    const created = this.members.map((member) =>
      createCustomCredential(member, (request) => AsyncResource.bind(request)),
    )
    const credential = this.#build(
      environment,
      settings,
      created.map(({ custom }) => custom),
    )
    return { credential, end: () => created.forEach(({ id }) => customCredentials.delete(id)) }
  }

  /**
   * @param {string} environment
   * @param {CredentialSettings} settings
   * @param {CustomCredential[]} [replacements] of the custom credentials
   */
  #build(environment, settings, replacements = []) {
    const [caFile, host, scope] = [settings.caFile, settings.host, settings.scope].map(stringOf)
    return callNative(() => new native.Credential(this.handle, environment, replacements, caFile, host, scope))
  }
}

/** The provider, which has all options, rejects a wrong type. */
const stringOf = (/** @type {unknown} */ option) => (typeof option === 'string' ? option : undefined)

/** @type {string[] | undefined} */
let variables
function knownVariables() {
  return (variables ??= native.knownVariables())
}

/**
 * The sources of the credentials of `pgentra/identity`, and of custom credentials that were resolved before.
 *
 * @type {WeakMap<object, CredentialSource>}
 */
const sources = new WeakMap()
const DEFAULT = CredentialSource.of({ type: 'default' })

/** Resolves a credential argument. */
function sourceOf(/** @type {unknown} */ credential) {
  if (credential === undefined) return DEFAULT
  if (credential instanceof CredentialSource) return credential
  const isKey = (typeof credential === 'object' && credential !== null) || typeof credential === 'function'
  const known = isKey ? sources.get(credential) : undefined
  if (known !== undefined) return known
  if (!isCustomCredential(credential)) {
    const isClass = typeof credential === 'function' && credential.name
    const type = credential === null ? 'null' : isClass ? `the class ${credential.name}` : typeof credential
    throw errorOf(
      'credential_value',
      `credential is required and must be an object with getToken, or a function that returns a token; got ${type}`,
      'Leave it out to use the default chain.',
    )
  }
  const { id, custom } = createCustomCredential(credential)
  // Its tokens are dropped with the object.
  collected.register(credential, id)
  const source = new CredentialSource(native.CredentialHandle.custom(custom), [credential])
  sources.set(credential, source)
  return source
}

/**
 * @param {unknown} credential
 * @returns {credential is CredentialArgument}
 */
function isCustomCredential(credential) {
  return typeof credential === 'function' ? !hasGetToken(credential.prototype) : hasGetToken(credential)
}

/**
 * @param {unknown} value
 * @returns {value is TokenCredential}
 */
function hasGetToken(value) {
  return typeof (/** @type {Partial<TokenCredential> | null | undefined} */ (value)?.getToken) === 'function'
}

/**
 * Whether a value can only be meant as a credential: one of `pgentra/identity`, an object with `getToken`, or a function.
 *
 * @param {unknown} value
 */
function isCredential(value) {
  if (typeof value === 'function') return true
  try {
    return typeof value === 'object' && value !== null && (sources.has(value) || hasGetToken(value))
  } catch {
    return false
  }
}

/** @type {FinalizationRegistry<number>} */
const collected = new FinalizationRegistry((id) => customCredentials.delete(id))

/**
 * @param {CredentialArgument} credential
 * @param {(requestToken: RequestToken) => RequestToken} [bind]
 */
function createCustomCredential(credential, bind = (requestToken) => requestToken) {
  const id = nextId()
  // The engine must not keep the application's object alive.
  const reference = new WeakRef(credential)
  const requestToken = bind((request) => respond(reference.deref(), request))
  customCredentials.set(id, requestToken)
  return { id, custom: new native.CustomCredential(channel, id, nameOf(credential)) }
}

function nameOf(/** @type {CredentialArgument} */ credential) {
  if (typeof credential === 'function') return credential.name || 'function'
  return credential.constructor?.name || 'object'
}

/**
 * Calls a custom credential and responds to the request.
 *
 * @param {CredentialArgument | undefined} credential
 * @param {CustomTokenRequest} request
 */
function respond(credential, request) {
  if (credential === undefined) return request.abandon()
  const { scope, tenantId, claims, enableCae } = request
  /** @type {GetTokenOptions} */
  const options = {}
  if (tenantId) options.tenantId = tenantId
  if (claims) options.claims = claims
  if (enableCae) options.enableCae = true
  // In an async function, what a thenable, a getter or a proxy throws is handled in one place.
  const work = async () => {
    const result = typeof credential === 'function' ? credential(scope, options) : credential.getToken(scope, options)
    respondWith(await result, request)
  }
  work().catch((error) => respondWithError(error, request))
}

/**
 * @param {unknown} result what the credential returned
 * @param {CustomTokenRequest} request
 */
function respondWith(result, request) {
  if (result === null) return request.decline()
  if (typeof result !== 'string' && typeof result !== 'object') {
    return request.reject(`${typeName(result)} instead of a token and its expiry`)
  }
  /** @type {{ token?: unknown, expiresOnTimestamp?: unknown, expiresOn?: unknown, refreshAfterTimestamp?: unknown }} */
  const returned = typeof result === 'string' ? { token: result } : result
  const { token, refreshAfterTimestamp: refresh } = returned
  if (typeof token !== 'string') {
    return request.reject(`a token of type ${typeName(token)} instead of a string`)
  }
  if (/\p{Surrogate}/u.test(token)) return request.rejectSurrogates()
  const expiry = returned.expiresOnTimestamp ?? returned.expiresOn
  for (const [what, time] of Object.entries({ 'an expiry': expiry, 'a refresh time': refresh })) {
    if (seconds(time) !== null) continue
    return request.reject(`${what} of type ${typeName(time)}; expected milliseconds since 1970, a Date or undefined`)
  }
  request.respond(token, seconds(expiry), seconds(refresh))
}

/** Converts milliseconds or a Date to seconds since 1970; `null` for any other value. */
function seconds(/** @type {unknown} */ time) {
  if (time === undefined || time === null) return undefined
  const number = isDate(time) ? time.getTime() : time
  if (typeof number !== 'number' || !Number.isFinite(number)) return null
  // As milliseconds, such a number is before 1973: it must be in seconds, as in all other Azure SDKs.
  return Math.floor(Math.abs(number) < 1e11 ? number : number / 1000)
}

/**
 * @param {unknown} error what the credential threw
 * @param {CustomTokenRequest} request
 */
function respondWithError(error, request) {
  const id = nextId()
  causes.set(id, error)
  let name = typeName(error)
  let message = ''
  try {
    if (typeof error === 'object' && error !== null) {
      /** @type {{ name?: unknown, message?: unknown }} */
      const thrown = error
      name = String(thrown.name ?? thrown.constructor?.name ?? name)
      message = String(thrown.message ?? '')
    } else {
      message = String(error)
    }
  } catch {
    // The application's object can throw when it is converted to a text.
  }
  request.fail(name, message, id)
}

function typeName(/** @type {unknown} */ value) {
  if (value === null) return 'null'
  if (typeof value !== 'object') return typeof value
  return value.constructor?.name ?? 'object'
}

module.exports = { CredentialSource, sources, sourceOf, hasGetToken, isCredential, typeName }
