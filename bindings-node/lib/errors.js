'use strict'

const { native, causes } = require('./native.js')

/**
 * What the engine knows of an error, and the document in which it hands one over.
 *
 * @typedef {{
 *   code: string, kind: number, message: string, aadsts?: number, attempts?: Detail[],
 *   status?: number, error?: string, service_message?: string, trace_id?: string, correlation_id?: string,
 * }} Detail
 * @typedef {{ class: keyof typeof classes, message: string, detail: Detail, cause: number | null }} Document
 */

/** Base of all errors of this library, and the class of those that have no other. */
class PgEntraError extends Error {
  /**
   * @param {string} [message]
   * @param {{ code?: string, detail?: Detail, cause?: unknown }} [options] of the engine's errors; a program's own have none
   */
  constructor(message, { code = 'internal', detail = /** @type {Detail} */ ({}), cause } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.kind = detail.kind
    this.aadsts = detail.aadsts
    this.detail = detail
  }
}

/** The credential is set up and brought no token. */
class AuthenticationError extends PgEntraError {
  /** @param {ConstructorParameters<typeof PgEntraError>} given */
  constructor(...given) {
    super(...given)
    const { status, error, service_message, aadsts, trace_id, correlation_id } = this.detail
    this.statusCode = status
    if (error !== undefined) {
      this.errorResponse = {
        error,
        errorDescription: service_message ?? '',
        errorCodes: aadsts === undefined ? [] : [aadsts],
        traceId: trace_id,
        correlationId: correlation_id,
      }
    }
  }
}

/** The credential is not set up on this machine; a chain goes on past it. Of a chain, `errors` are its members'. */
class CredentialUnavailableError extends AuthenticationError {
  /** @param {ConstructorParameters<typeof PgEntraError>} given */
  constructor(...given) {
    super(...given)
    if (this.detail.attempts) this.errors = errorsOf(this.detail)
  }
}

/** No credential of a chain brought a token, and not all for want of being set up; `errors` are theirs. */
class AggregateAuthenticationError extends AuthenticationError {
  /** @param {ConstructorParameters<typeof PgEntraError>} given */
  constructor(...given) {
    super(...given)
    // The last one is what ended the chain.
    const { attempts, ...last } = this.detail
    this.errors = [...errorsOf({ attempts }), made(undefined, last.message, last)]
  }
}

/**
 * @param {Pick<Detail, 'attempts'>} detail
 * @returns {PgEntraError[]}
 */
function errorsOf({ attempts = [] }) {
  return attempts.map((attempt) => made(classOf(attempt), attempt.message, attempt))
}

/** Entra wants the user to sign in. */
class AuthenticationRequiredError extends AuthenticationError {}

const classes = {
  PgEntraError,
  AuthenticationError,
  CredentialUnavailableError,
  AggregateAuthenticationError,
  AuthenticationRequiredError,
}

// As in the Azure SDK, whose chains know errors by this name; not the class's own, which a minifier changes.
for (const [name, value] of Object.entries(classes)) {
  Object.defineProperty(value.prototype, 'name', { value: name, configurable: true, writable: true })
}

function classOf(/** @type {Detail} */ detail) {
  if (detail.code === 'credential_unavailable') return CredentialUnavailableError
  if (detail.code === 'interaction_required') return AuthenticationRequiredError
  if (detail.attempts && detail.kind <= 10) return AggregateAuthenticationError
  return undefined
}

/**
 * @param {typeof PgEntraError | undefined} Class
 * @param {string} message
 * @param {Detail} detail
 * @param {unknown} [cause]
 */
function made(Class, message, detail, cause) {
  return new (Class ?? AuthenticationError)(message, { code: detail.code, detail, cause })
}

/**
 * What people match who come from `@azure/postgresql-auth`.
 *
 * @type {Record<string, string>}
 */
const BEGINNINGS = {
  credential_unavailable: 'Failed to acquire Entra ID token: ',
  credential_value: 'Failed to acquire Entra ID token: ',
  token_decode: 'Could not determine DB username: ',
  username_extraction: 'Could not determine DB username: ',
  scope_permission: 'Could not determine DB username: ',
}

/** The error of the engine's document. */
function fromDocument(/** @type {string} */ document) {
  /** @type {Document} */
  const { class: name, message, detail, cause } = JSON.parse(document)
  const Class = classOf(detail) ?? classes[name] ?? PgEntraError
  return made(Class, message, detail, cause === null ? undefined : causes.get(cause))
}

/** The same for an error of a token or a login. */
function fromDoor(/** @type {string} */ document) {
  const error = fromDocument(document)
  error.message = (BEGINNINGS[error.code] ?? '') + error.message
  return error
}

/**
 * Calls a function of the addon; what it throws becomes an error of ours.
 *
 * @template Result
 * @param {() => Result} work
 */
function calling(work, read = fromDocument) {
  try {
    return work()
  } catch (error) {
    const { message } = /** @type {{ message?: unknown }} */ (error ?? {})
    throw typeof message === 'string' && message.startsWith('{') ? read(message) : error
  }
}

/**
 * An error that this side found.
 *
 * @param {string} code
 * @param {string} message
 * @param {string} [advice] what to do, where the kind's own does not fit
 */
function errorOf(code, message, advice) {
  return fromDocument(native.errorDocument(code, message, advice))
}

/** A key is a name by its place, but a mistyped call can put a secret there. */
const shown = (/** @type {string} */ name) => (/^\w{1,64}$/.test(name) ? name : '...')

/**
 * What JSON would drop or change without a word is refused by its name and type.
 *
 * @param {string} name
 * @param {unknown} value
 */
function plain(name, value) {
  const type = typeof value
  if (type === 'function' || type === 'symbol' || type === 'bigint' || (type === 'number' && !Number.isFinite(value))) {
    throw errorOf('invalid_configuration', `option \`${name}\`: expected a plain value, got a ${type}`)
  }
  if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) plain(`${name}.${key}`, item)
  }
  return value
}

module.exports = { classes, fromDocument, fromDoor, calling, errorOf, plain, shown }
