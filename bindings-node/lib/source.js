'use strict'

// What a credential argument stands for. Ours are settings that the engine acts on. Any other is *foreign*: an object with
// `getToken`, or a function. A foreign one is asked on the thread it lives on; its tokens go with the object.

const { isDate } = require('node:util/types')
const { native, courier, hosts, causes, nextId } = require('./native.js')
const { calling, errorOf } = require('./errors.js')

/** @import { CustomCredential, Request } from '../addon' */
/** @import { CredentialArgument, GetTokenOptions, TokenCredential } from './index.js' */

/**
 * @typedef {{ variables?: Record<string, string>, caFile?: string }} Connection
 * @typedef {{ caFile?: unknown, host?: unknown, scope?: unknown }} CredentialSettings as given, not looked at yet
 * @typedef {(request: Request) => void} Ask
 */

/** A document for the engine, and the foreign credentials that it names by index, which live as long. */
class Source {
  /**
   * @param {Record<string, unknown>} document
   * @param {Connection & { members?: CredentialArgument[] }} [settings]
   */
  constructor(document, { members = [], variables, caFile } = {}) {
    this.document = document
    this.members = members
    this.variables = variables
    this.caFile = caFile
    /**
     * By settings; the cells of foreign credentials hang on these.
     *
     * @type {Map<string | undefined, InstanceType<typeof native.Credential>>}
     */
    this.credentials = new Map()
  }

  /** Whether a foreign credential takes part. */
  get isForeign() {
    return this.members.length > 0
  }

  /** The proxies and the file of authorities that it was given. */
  get connection() {
    return { variables: this.variables, caFile: this.caFile }
  }

  /** Whether the scope reaches it. If not, it would answer the question for a management token with the same one. */
  get takesScope() {
    const [member] = this.members
    return this.document.type !== 'host' || typeof member !== 'function' || member.length > 0
  }

  /** The variables as the credential is to see them (it may have proxies of its own), as JSON. */
  environment() {
    /** @type {Record<string, string>} */
    const variables = {}
    for (const name of knownVariables()) {
      const value = process.env[name]
      if (value !== undefined) variables[name] = value
    }
    return JSON.stringify({ ...variables, ...this.variables })
  }

  /**
   * The engine's credential for these settings.
   *
   * @param {string} environment
   * @param {CredentialSettings} [settings]
   */
  credential(environment, { caFile, host, scope } = {}) {
    caFile ??= this.caFile
    // A foreign credential on its own reads no settings of ours.
    const key = this.document.type === 'host' ? '' : JSON.stringify([environment, caFile, host, scope])
    let credential = this.credentials.get(key)
    if (credential === undefined) {
      credential = this.#make(environment, this.members.map(hostOf), { caFile, host, scope })
      if (this.credentials.size >= 64) this.credentials.delete(this.credentials.keys().next().value)
      this.credentials.set(key, credential)
    }
    return credential
  }

  /**
   * One that shares nothing and asks in the asynchronous context of its maker.
   *
   * @param {string} environment
   * @param {CredentialSettings} [settings]
   */
  uncached(environment, { caFile = this.caFile, host, scope } = {}) {
    const { AsyncResource } = require('node:async_hooks')
    const asked = this.members.map((member) => newHost(member, (ask) => AsyncResource.bind(ask)))
    const known = asked.map((made) => made.host)
    const credential = this.#make(environment, known, { caFile, host, scope })
    return { credential, end: () => asked.forEach(({ id }) => hosts.delete(id)) }
  }

  /**
   * @param {string} environment
   * @param {CustomCredential[]} known
   * @param {CredentialSettings} settings
   */
  #make(environment, known, { caFile, host, scope }) {
    const document = JSON.stringify(this.document)
    return calling(() => new native.Credential(document, environment, known, text(caFile), text(host), text(scope)))
  }
}

/** A wrong type is refused by the provider, which has all options. */
const text = (/** @type {unknown} */ option) => (typeof option === 'string' ? option : undefined)

/** @type {string[] | undefined} */
let variables
function knownVariables() {
  return (variables ??= native.knownVariables())
}

/**
 * The sources of our own classes, and those found for foreign credentials.
 *
 * @type {WeakMap<object, Source>}
 */
const sources = new WeakMap()
const DEFAULT = new Source({ type: 'default' })

/** What a credential argument stands for. */
function sourceOf(/** @type {unknown} */ credential) {
  if (credential === undefined) return DEFAULT
  if (credential instanceof Source) return credential
  const isKey = (typeof credential === 'object' && credential !== null) || typeof credential === 'function'
  const known = isKey ? sources.get(credential) : undefined
  if (known !== undefined) return known
  if (!isForeign(credential)) {
    const isClass = typeof credential === 'function' && credential.name
    const came = credential === null ? 'null' : isClass ? `the class ${credential.name}` : typeof credential
    throw errorOf(
      'credential_value',
      `credential is required and must be an object with getToken, or a function that returns a token; got ${came}`,
      'Leave it out for the default chain.',
    )
  }
  const source = new Source({ type: 'custom_credential', index: 0 }, { members: [credential] })
  sources.set(credential, source)
  return source
}

/**
 * @param {unknown} credential
 * @returns {credential is CredentialArgument}
 */
function isForeign(credential) {
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
 * Whether a value can only be meant as a credential: one of ours, an object with `getToken`, or a function.
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

/** @type {WeakMap<CredentialArgument, CustomCredential>} */
const foreign = new WeakMap()
/** @type {FinalizationRegistry<number>} */
const gone = new FinalizationRegistry((id) => hosts.delete(id))

/** The one host credential of a foreign credential. */
function hostOf(/** @type {CredentialArgument} */ credential) {
  let host = foreign.get(credential)
  if (host === undefined) {
    const made = newHost(credential)
    foreign.set(credential, (host = made.host))
    gone.register(credential, made.id)
  }
  return host
}

/**
 * @param {CredentialArgument} credential
 * @param {(ask: Ask) => Ask} [bound]
 */
function newHost(credential, bound = (ask) => ask) {
  const id = nextId()
  // The engine must not keep what is the program's.
  const reference = new WeakRef(credential)
  hosts.set(
    id,
    bound((request) => askForToken(reference.deref(), request)),
  )
  return { id, host: new native.CustomCredential(courier, id, nameOf(credential)) }
}

function nameOf(/** @type {CredentialArgument} */ credential) {
  if (typeof credential === 'function') return credential.name || 'function'
  return credential.constructor?.name || 'object'
}

/**
 * @param {CredentialArgument | undefined} credential
 * @param {Request} request
 */
function askForToken(credential, request) {
  if (credential === undefined) return request.lose()
  const { scope, tenantId, claims, enableCae } = request
  /** @type {GetTokenOptions} */
  const options = {}
  if (tenantId) options.tenantId = tenantId
  if (claims) options.claims = claims
  if (enableCae) options.enableCae = true
  // An async function: whatever a thenable, a getter or a proxy throws ends up in one place.
  const work = async () => {
    const result = typeof credential === 'function' ? credential(scope, options) : credential.getToken(scope, options)
    answer(await result, request)
  }
  work().catch((error) => fail(error, request))
}

/**
 * @param {unknown} result
 * @param {Request} request
 */
function answer(result, request) {
  if (result === null) return request.decline()
  if (typeof result !== 'string' && typeof result !== 'object') {
    return request.refuse(`returned ${typeName(result)}, where a token and its expiry were expected`)
  }
  /** @type {{ token?: unknown, expiresOnTimestamp?: unknown, expiresOn?: unknown, refreshAfterTimestamp?: unknown }} */
  const issued = typeof result === 'string' ? { token: result } : result
  const { token, refreshAfterTimestamp: refresh } = issued
  if (typeof token !== 'string') {
    return request.refuse(`returned a token of type ${typeName(token)}, where a string was expected`)
  }
  if (/\p{Surrogate}/u.test(token)) return request.refuse('returned a token with half a character in it')
  const ends = issued.expiresOnTimestamp ?? issued.expiresOn
  for (const [what, moment] of Object.entries({ 'an expiry': ends, 'a time to refresh': refresh })) {
    if (seconds(moment) !== null) continue
    return request.refuse(
      `returned ${what} of type ${typeName(moment)}, where milliseconds since 1970, a Date or nothing were expected`,
    )
  }
  request.succeed(token, seconds(ends), seconds(refresh))
}

/** Seconds since 1970 of milliseconds or a Date; `null` for anything else. */
function seconds(/** @type {unknown} */ moment) {
  if (moment === undefined || moment === null) return undefined
  const number = isDate(moment) ? moment.getTime() : moment
  if (typeof number !== 'number' || !Number.isFinite(number)) return null
  // Before 1973 by milliseconds: seconds were meant, as every other Azure SDK counts.
  return Math.floor(Math.abs(number) < 1e11 ? number : number / 1000)
}

/**
 * @param {unknown} error
 * @param {Request} request
 */
function fail(error, request) {
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
    // Its text is the program's own code, which may throw too.
  }
  request.fail(name, message, name === 'CredentialUnavailableError', id)
}

function typeName(/** @type {unknown} */ value) {
  if (value === null) return 'null'
  if (typeof value !== 'object') return typeof value
  return value.constructor?.name ?? 'object'
}

/**
 * A document whose foreign credentials, wherever it names them, come after `before` others.
 *
 * @param {unknown} document
 * @param {number} before
 * @returns {unknown}
 */
function renumbered(document, before) {
  if (typeof document !== 'object' || document === null) return document
  if (Array.isArray(document)) return document.map((item) => renumbered(item, before))
  // Only a host has an index.
  const { type, index } = /** @type {{ type?: unknown, index: number }} */ (document)
  if (type === 'host') return { type, index: before + index }
  return Object.fromEntries(Object.entries(document).map(([key, value]) => [key, renumbered(value, before)]))
}

module.exports = { Source, sources, sourceOf, hasGetToken, isCredential, renumbered, typeName }
