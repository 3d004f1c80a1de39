'use strict'

// What a credential argument stands for. Ours are settings that the engine acts on. Any other is *foreign*: an object with
// `getToken`, or a function. A foreign one is asked on the thread it lives on; its tokens go with the object.

const { native, courier, hosts, causes, nextId } = require('./native.js')
const { calling, errorOf } = require('./errors.js')

/**
 * @typedef {{ members?: any[], variables?: Record<string, string>, caFile?: string }} SourceSettings
 * @typedef {{ caFile?: string, host?: string, scope?: string }} CredentialSettings
 */

/** A document for the engine, and the foreign credentials that it names by index, which live as long. */
class Source {
  /**
   * @param {Record<string, any>} document
   * @param {SourceSettings} [settings]
   */
  constructor(document, { members = [], variables, caFile } = {}) {
    this.document = document
    this.members = members
    this.variables = variables
    this.caFile = caFile
    // By settings; the cells of foreign credentials hang on these.
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
      const known = this.members.map(hostOf)
      credential = this.#make(environment, known, caFile, host, scope)
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
  uncached(environment, { caFile, host, scope } = {}) {
    const { AsyncResource } = require('node:async_hooks')
    const asked = this.members.map((member) => newHost(member, (ask) => AsyncResource.bind(ask)))
    const credential = this.#make(
      environment,
      asked.map(({ host }) => host),
      caFile ?? this.caFile,
      host,
      scope,
    )
    return { credential, end: () => asked.forEach(({ id }) => hosts.delete(id)) }
  }

  #make(environment, known, caFile, host, scope) {
    const document = JSON.stringify(this.document)
    return calling(() => new native.Credential(document, environment, known, text(caFile), text(host), text(scope)))
  }
}

/** A wrong type is refused by the provider, which has all options. */
const text = (option) => (typeof option === 'string' ? option : undefined)

let variables
function knownVariables() {
  return (variables ??= native.knownVariables())
}

/** The sources of our own classes, and those found for foreign credentials. */
const sources = new WeakMap()
const DEFAULT = new Source({ type: 'default' })

/** What a credential argument stands for. */
function sourceOf(credential) {
  if (credential === undefined) return DEFAULT
  const isKey = (typeof credential === 'object' && credential !== null) || typeof credential === 'function'
  const known = isKey ? sources.get(credential) : undefined
  if (known !== undefined) return known
  if (!isForeign(credential)) {
    const came =
      credential === null ? 'null' : isKey && credential.name ? `the class ${credential.name}` : typeof credential
    throw errorOf(
      'credential_value',
      `credential is required and must be an object with getToken, or a function that returns a token; got ${came}`,
      'Leave it out for the default chain.',
    )
  }
  const source = new Source({ type: 'host', index: 0 }, { members: [credential] })
  sources.set(credential, source)
  return source
}

function isForeign(credential) {
  if (typeof credential === 'function') return typeof credential.prototype?.getToken !== 'function'
  return typeof credential?.getToken === 'function'
}

const foreign = new WeakMap()
const gone = new FinalizationRegistry((id) => hosts.delete(id))

/** The one host credential of a foreign credential. */
function hostOf(credential) {
  let host = foreign.get(credential)
  if (host === undefined) {
    const made = newHost(credential)
    foreign.set(credential, (host = made.host))
    gone.register(credential, made.id)
  }
  return host
}

function newHost(credential, bound = (ask) => ask) {
  const id = nextId()
  // The engine must not keep what is the program's.
  const reference = new WeakRef(credential)
  hosts.set(
    id,
    bound((request) => askForToken(reference.deref(), request)),
  )
  return { id, host: new native.HostCredential(courier, id, nameOf(credential)) }
}

function nameOf(credential) {
  if (typeof credential === 'function') return credential.name || 'function'
  return credential?.constructor?.name || 'object'
}

function askForToken(credential, request) {
  if (credential === undefined) return request.lose()
  const { scope, tenantId, claims, enableCae } = request
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

function answer(result, request) {
  if (result === null) return request.decline()
  const isText = typeof result === 'string'
  if (!isText && typeof result !== 'object') {
    return request.refuse(`returned ${typeName(result)}, where a token and its expiry were expected`)
  }
  const token = isText ? result : result.token
  if (typeof token !== 'string') {
    return request.refuse(`returned a token of type ${typeName(token)}, where a string was expected`)
  }
  if (/\p{Surrogate}/u.test(token)) return request.refuse('returned a token with half a character in it')
  const ends = isText ? undefined : (result.expiresOnTimestamp ?? result.expiresOn)
  const times = [ends, isText ? undefined : result.refreshAfterTimestamp].map(seconds)
  if (times.includes(null)) {
    return request.refuse(
      `returned an expiry of type ${typeName(ends)}, where milliseconds since 1970, a Date or nothing were expected`,
    )
  }
  request.succeed(token, times[0], times[1])
}

/** Seconds since 1970 of milliseconds or a Date; `null` for anything else. */
function seconds(moment) {
  if (moment === undefined || moment === null) return undefined
  const number = moment instanceof Date ? moment.getTime() : moment
  if (typeof number !== 'number' || !Number.isFinite(number)) return null
  // Before 1973 by milliseconds: seconds were meant, as every other Azure SDK counts.
  return Math.floor(Math.abs(number) < 1e11 ? number : number / 1000)
}

function fail(error, request) {
  const id = nextId()
  causes.set(id, error)
  const isObject = typeof error === 'object' && error !== null
  let name = typeName(error)
  let message = ''
  try {
    if (isObject) {
      name = String(error.name ?? error.constructor?.name ?? name)
      message = String(error.message ?? '')
    } else {
      message = String(error)
    }
  } catch {
    // Its text is the program's own code, which may throw too.
  }
  request.fail(name, message, name === 'CredentialUnavailableError', id)
}

function typeName(value) {
  if (value === null) return 'null'
  if (typeof value !== 'object') return typeof value
  return value.constructor?.name ?? 'object'
}

/** A document whose foreign credentials, wherever it names them, are added to `members`. */
function renumbered(document, own, members) {
  if (typeof document !== 'object' || document === null) return document
  if (Array.isArray(document)) return document.map((item) => renumbered(item, own, members))
  if (document.type === 'host') {
    members.push(own[document.index])
    return { type: 'host', index: members.length - 1 }
  }
  return Object.fromEntries(Object.entries(document).map(([key, value]) => [key, renumbered(value, own, members)]))
}

module.exports = { Source, sources, sourceOf, renumbered }
