'use strict'

const { native } = require('./addon.js')
const { causes } = require('./waits.js')

/**
 * The data of an error, and the document in which the engine passes an error.
 *
 * @typedef {{
 *   code: string, kind: number, message: string, aadsts?: number, attempts?: Detail[],
 *   status?: number, error?: string, service_message?: string, trace_id?: string, correlation_id?: string,
 * }} Detail
 * @typedef {{ class: keyof typeof classes, message: string, detail: Detail, cause: number | null }} Document
 */

/** The base class of all errors of pgentra. */
class PgEntraError extends Error {
  /**
   * @param {string} [message]
   * @param {{ code?: string, detail?: Detail, cause?: unknown }} [options] set for the engine's errors
   */
  constructor(message, { code = 'internal', detail = /** @type {Detail} */ ({}), cause } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.kind = detail.kind
    this.aadsts = detail.aadsts
    this.detail = detail
  }
}

/** The credential is configured and the token request failed. */
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

/** The credential is not available here; a chain continues with its next member. For a chain, `errors` has its members' errors. */
class CredentialUnavailableError extends AuthenticationError {
  /** @param {ConstructorParameters<typeof PgEntraError>} given */
  constructor(...given) {
    super(...given)
    if (this.detail.attempts) this.errors = errorsOf(this.detail)
  }
}

/** No member of a chain returned a token, and at least one was available. `errors` has its members' errors. */
class AggregateAuthenticationError extends AuthenticationError {
  /** @param {ConstructorParameters<typeof PgEntraError>} given */
  constructor(...given) {
    super(...given)
    // The last error is the one that ended the chain.
    const { attempts, ...last } = this.detail
    this.errors = [...errorsOf({ attempts }), create(undefined, last.message, last)]
  }
}

/**
 * @param {Pick<Detail, 'attempts'>} detail
 * @returns {PgEntraError[]}
 */
function errorsOf({ attempts = [] }) {
  return attempts.map((attempt) => create(classOf(attempt), attempt.message, attempt))
}

/** Entra requires the user to sign in. */
class AuthenticationRequiredError extends AuthenticationError {}

const classes = {
  PgEntraError,
  AuthenticationError,
  CredentialUnavailableError,
  AggregateAuthenticationError,
  AuthenticationRequiredError,
}

// The Azure SDK's chains recognise errors by `name`. It is set here because a minifier changes the names of classes.
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
function create(Class, message, detail, cause) {
  return new (Class ?? AuthenticationError)(message, { code: detail.code, detail, cause })
}

/**
 * The beginnings of messages that users of `@azure/postgresql-auth` match.
 *
 * @type {Record<string, string>}
 */
const MESSAGE_PREFIXES = {
  credential_unavailable: 'Failed to acquire Entra ID token: ',
  credential_value: 'Failed to acquire Entra ID token: ',
  token_decode: 'Could not determine DB username: ',
  username_extraction: 'Could not determine DB username: ',
  scope_permission: 'Could not determine DB username: ',
}

/** Creates the error from the engine's document. */
function fromDocument(/** @type {string} */ document) {
  /** @type {Document} */
  const { class: name, message, detail, cause } = JSON.parse(document)
  const Class = classOf(detail) ?? classes[name] ?? PgEntraError
  return create(Class, message, detail, cause === null ? undefined : causes.get(cause))
}

/** Creates the error of a token or a login from the engine's document. */
function tokenError(/** @type {string} */ document) {
  const error = fromDocument(document)
  error.message = (MESSAGE_PREFIXES[error.code] ?? '') + error.message
  return error
}

/**
 * Calls a function of the addon. Throws its errors as errors of pgentra.
 *
 * @template Result
 * @param {() => Result} work
 */
function callNative(work, read = fromDocument) {
  try {
    return work()
  } catch (error) {
    const { message } = /** @type {{ message?: unknown }} */ (error ?? {})
    throw typeof message === 'string' && message.startsWith('{') ? read(message) : error
  }
}

/**
 * Creates an error that this package detected.
 *
 * @param {string} code
 * @param {string} message
 * @param {string} [advice] replaces the advice of the code
 */
function errorOf(code, message, advice) {
  return fromDocument(native.errorDocument(code, message, advice))
}

/** A wrong call can pass a secret as a name, so only a name that looks like one is shown. */
const safeName = (/** @type {string} */ name) => (/^\w{1,64}$/.test(name) ? name : '...')

/**
 * Rejects a value that JSON would drop or change, by its name and type.
 *
 * @param {string} name
 * @param {unknown} value
 */
function plainValue(name, value) {
  const type = typeof value
  if (type === 'function' || type === 'symbol' || type === 'bigint' || (type === 'number' && !Number.isFinite(value))) {
    throw errorOf('invalid_configuration', `option \`${name}\`: expected a plain value, got a ${type}`)
  }
  if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) plainValue(`${name}.${key}`, item)
  }
  return value
}

module.exports = { classes, fromDocument, tokenError, callNative, errorOf, plainValue, safeName }
