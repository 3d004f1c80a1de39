'use strict'

// The credentials, with the names and arguments of `@azure/identity`, as documents of the engine.

const { isDate } = require('node:util/types')
const { wait } = require('./waits.js')
const { callNative, classes, errorOf, fromDocument, plainValue, safeName } = require('./errors.js')
const { log } = require('./log.js')
const { CredentialSource, sources, sourceOf, hasGetToken } = require('./credential_source.js')

/** @import { CredentialToken } from '../addon' */
/** @import * as published from './identity.js' */
/** @import { AccessToken, CredentialArgument, GetTokenOptions, TokenCredential } from './index.js' */
/** @import { Signal } from './waits.js' */

/** Options of every credential that are part of its document. */
const COMMON = ['additionallyAllowedTenants', 'authorityHost', 'cloud', 'disableInstanceDiscovery']

/** Options of the Azure SDK that have no effect here. */
const IGNORED = [
  'additionalPolicies',
  'allowInsecureConnection',
  'apiVersion',
  'brokerOptions',
  'loggingOptions',
  'redirectOptions',
  'telemetryOptions',
  'tokenCachePersistenceOptions',
  'tracingOptions',
  'unsafeAllowUnencryptedStorage',
  'userAgentOptions',
]

/** Options of the Azure SDK that cannot be supported and must not be ignored, and what to use instead. */
const ALTERNATIVES = new Map([
  ['agent', 'Connections are not made by Node. Set a proxy in proxyOptions.'],
  ['httpClient', 'Connections are not made by Node. Set a proxy in proxyOptions.'],
  ['tlsOptions', 'Set a PEM file of certificate authorities in caFile or in NODE_EXTRA_CA_CERTS.'],
])

/** @implements {TokenCredential} */
class Credential {
  #source

  /**
   * @param {string} type of the engine's document
   * @param {Record<string, unknown>} given arguments by the names that they have in the Azure SDK
   * @param {object} [options]
   * @param {string[]} [own] names of the options that not every credential has
   */
  constructor(type, given, options, own = []) {
    const name = new.target.name
    /** @type {(option: string, why: string, advice?: string) => Error} */
    const rejected = (option, why, advice) =>
      errorOf('invalid_configuration', `${name}: option \`${option}\`: ${why}`, advice)
    /** @type {Record<string, unknown>} */
    const document = { type }
    /** @type {{ variables?: Record<string, string>, caFile?: string }} */
    const transport = {}
    /** @type {CredentialSource[]} */
    const members = []
    const member = (/** @type {unknown} */ credential) => {
      members.push(sourceOf(credential))
      return { type: 'custom_credential', index: members.length - 1 }
    }
    /** @type {(key: string, value: unknown) => void} */
    const put = (key, value) => {
      if (value === undefined || value === '') return
      if (key === 'credentials' && Array.isArray(value)) value = value.map(member)
      else if (key === 'getAssertion') value = member(assertionOf(value))
      else if (value instanceof Uint8Array) value = Buffer.from(value).toString('base64')
      else value = plainValue(key, key.endsWith('InMs') ? seconds(value) : value)
      document[key.replace('InMs', '').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)] = value
    }
    for (const [key, value] of Object.entries(given)) put(key, value)
    const ignored = []
    for (const [key, value] of Object.entries(options ?? {})) {
      if (value === undefined) continue
      if (COMMON.includes(key) || own.includes(key)) put(key, value)
      else if (key === 'retryOptions') document.retry = retryOf(plainValue(key, value))
      else if (key === 'proxyOptions') {
        const proxy = proxyOf(value)
        if (proxy === undefined) throw rejected(key, 'expected { host, port, username, password }')
        transport.variables = { HTTPS_PROXY: proxy, https_proxy: proxy, HTTP_PROXY: proxy, http_proxy: proxy }
      } else if (key === 'caFile') {
        if (typeof value !== 'string') throw rejected(key, `expected the path of a file, got ${typeof value}`)
        transport.caFile = value
      } else if (IGNORED.includes(key)) ignored.push(key)
      else if (ALTERNATIVES.has(key)) throw rejected(key, 'not supported', ALTERNATIVES.get(key))
      else throw rejected(safeName(key), 'unknown option')
    }
    if (ignored.length > 0) log('debug', `${name}: options without effect here: ${ignored.join(', ')}`)
    // Checks the document too: missing arguments and wrong types are reported now.
    this.#source = CredentialSource.of(document, members, transport)
    sources.set(this, this.#source)
  }

  /**
   * Returns a token for one scope, never `null`.
   *
   * @param {string | string[]} scopes
   * @param {GetTokenOptions & { abortSignal?: Signal } | null} [options]
   * @returns {Promise<AccessToken>}
   */
  async getToken(scopes, options = {}) {
    const { abortSignal, claims, tenantId, enableCae } = options ?? {}
    abortSignal?.throwIfAborted?.()
    const scope = onlyScope(scopes)
    const credential = this.#source.credential(this.#source.environment())
    /** @type {[string, string | undefined, string | undefined, boolean]} */
    const request = [scope, tenantId, claims, enableCae === true]
    /** @type {CredentialToken} */
    const { token, expiresOn, refreshOn } =
      callNative(() => credential.tryToken(...request)) ??
      (await wait((channel, id) => credential.startToken(channel, id, ...request), fromDocument, abortSignal))
    return {
      token,
      expiresOnTimestamp: expiresOn * 1000,
      ...(refreshOn !== undefined && { refreshAfterTimestamp: refreshOn * 1000 }),
      tokenType: 'Bearer',
    }
  }
}

function onlyScope(/** @type {unknown} */ scopes) {
  const all = Array.isArray(scopes) ? scopes : [scopes]
  if (all.length === 1 && typeof all[0] === 'string' && all[0] !== '') return all[0]
  throw errorOf(
    'invalid_configuration',
    'exactly one scope can be requested',
    'Pass one scope, such as the resource followed by /.default.',
  )
}

/**
 * By function: the custom credential that calls it. Credentials with the same function share tokens.
 *
 * @type {WeakMap<Function, () => Promise<{ token: unknown }>>}
 */
const assertions = new WeakMap()

/** Returns the source of an assertion: a function, or a credential for `api://AzureADTokenExchange`. */
function assertionOf(/** @type {unknown} */ getAssertion) {
  if (typeof getAssertion !== 'function' || hasGetToken(getAssertion)) return getAssertion
  let found = assertions.get(getAssertion)
  if (found === undefined) {
    found = async () => ({ token: await getAssertion() })
    assertions.set(getAssertion, found)
  }
  return found
}

function retryOf(/** @type {unknown} */ options) {
  if (typeof options !== 'object' || options === null) return options
  /** @type {{ maxRetries?: unknown, retryDelayInMs?: unknown, maxRetryDelayInMs?: unknown }} */
  const { maxRetries, retryDelayInMs, maxRetryDelayInMs } = options
  return { max_retries: maxRetries, delay: seconds(retryDelayInMs), max_delay: seconds(maxRetryDelayInMs) }
}

function seconds(/** @type {unknown} */ milliseconds) {
  return typeof milliseconds === 'number' ? milliseconds / 1000 : milliseconds
}

/** Returns the URL of a proxy; `undefined` if the options are not valid. */
function proxyOf(/** @type {unknown} */ options) {
  /** @type {{ host?: unknown, port?: unknown, username?: unknown, password?: unknown }} */
  const { host, port, username = '', password = '' } = options ?? {}
  if (typeof host !== 'string' || typeof username !== 'string' || typeof password !== 'string') return undefined
  if (host === '') return undefined
  const isPort = typeof port === 'number' && Number.isInteger(port) && port > 0 && port < 65_536
  if (port !== undefined && !isPort) return undefined
  try {
    const url = new URL(/^\w+:\/\//.test(host) ? host : `http://${host}`)
    if (port !== undefined) url.port = String(port)
    if (username !== '') url.username = username
    if (password !== '') url.password = password
    return url.href.replace(/\/$/, '')
  } catch {
    return undefined
  }
}

class DefaultAzureCredential extends Credential {
  /** @param {published.DefaultAzureCredentialOptions} [options] */
  constructor(options) {
    const { requiredEnvVars } = options ?? {}
    const listed = typeof requiredEnvVars === 'string' ? [requiredEnvVars] : requiredEnvVars
    super('default', {}, { ...options, requiredEnvVars: listed }, [
      'tenantId',
      'managedIdentityClientId',
      'managedIdentityResourceId',
      'workloadIdentityClientId',
      'processTimeoutInMs',
      'requiredEnvVars',
    ])
  }
}

class ChainedTokenCredential extends Credential {
  /** @param {CredentialArgument[]} credentials */
  constructor(...credentials) {
    super('chained', { credentials })
    this.length = credentials.length
  }
}

class EnvironmentCredential extends Credential {
  /** @param {published.CredentialOptions} [options] */
  constructor(options) {
    super('environment', {}, options)
  }
}

class WorkloadIdentityCredential extends Credential {
  /** @param {published.CredentialOptions} [options] */
  constructor(options) {
    super('workload_identity', {}, options, ['tenantId', 'clientId', 'tokenFilePath', 'enableAzureProxy'])
  }
}

class ManagedIdentityCredential extends Credential {
  /**
   * @param {string | published.CredentialOptions} [first]
   * @param {published.CredentialOptions} [second]
   */
  constructor(first, second) {
    const options = typeof first === 'string' ? { clientId: first, ...second } : { ...first, ...second }
    super('managed_identity', {}, options, ['clientId', 'objectId', 'resourceId'])
  }
}

class AzureCliCredential extends Credential {
  /** @param {published.CredentialOptions} [options] */
  constructor(options) {
    super('azure_cli', {}, options, ['tenantId', 'subscription', 'processTimeoutInMs'])
  }
}

class AzureDeveloperCliCredential extends Credential {
  /** @param {published.CredentialOptions} [options] */
  constructor(options) {
    super('azure_developer_cli', {}, options, ['tenantId', 'processTimeoutInMs'])
  }
}

class AzurePowerShellCredential extends Credential {
  /** @param {published.CredentialOptions} [options] */
  constructor(options) {
    super('azure_powershell', {}, options, ['tenantId', 'processTimeoutInMs'])
  }
}

class AzurePipelinesCredential extends Credential {
  /** @param {ConstructorParameters<typeof published.AzurePipelinesCredential>} args */
  constructor(...args) {
    const [tenantId, clientId, serviceConnectionId, systemAccessToken, options] = args
    const given = { tenantId, clientId, serviceConnectionId, systemAccessToken }
    super('azure_pipelines', given, options, ['organizationUrl'])
  }
}

class ClientSecretCredential extends Credential {
  /** @param {ConstructorParameters<typeof published.ClientSecretCredential>} args */
  constructor(...args) {
    const [tenantId, clientId, clientSecret, options] = args
    super('client_secret', { tenantId, clientId, clientSecret }, options)
  }
}

class ClientCertificateCredential extends Credential {
  /** @param {ConstructorParameters<typeof published.ClientCertificateCredential>} args */
  constructor(...args) {
    const [tenantId, clientId, file, options] = args
    /** @type {Partial<published.CertificatePath & published.Certificate>} */
    const { certificatePath, certificate, certificatePassword } =
      typeof file === 'string' ? { certificatePath: file } : (file ?? {})
    const given = { tenantId, clientId, certificatePath, certificate, certificatePassword }
    super('client_certificate', given, options, ['sendCertificateChain'])
  }
}

class ClientAssertionCredential extends Credential {
  /** @param {ConstructorParameters<typeof published.ClientAssertionCredential>} args */
  constructor(...args) {
    const [tenantId, clientId, getAssertion, options] = args
    super('client_assertion', { tenantId, clientId, getAssertion }, options)
  }
}

class OnBehalfOfCredential extends Credential {
  /** @param {published.OnBehalfOfCredentialOptions} [options] */
  constructor(options) {
    super('on_behalf_of', {}, options, [
      'tenantId',
      'clientId',
      'userAssertionToken',
      'clientSecret',
      'certificatePath',
      'certificate',
      'certificatePassword',
      'sendCertificateChain',
      'getAssertion',
    ])
  }
}

class StaticTokenCredential extends Credential {
  /** @param {ConstructorParameters<typeof published.StaticTokenCredential>} args */
  constructor(...args) {
    const [token, expiresOnTimestamp] = args
    const expiry = isDate(expiresOnTimestamp) ? expiresOnTimestamp.getTime() : expiresOnTimestamp
    super('static_token', { token, expiresOn: typeof expiry === 'number' ? Math.floor(expiry / 1000) : expiry })
  }
}

module.exports = /** @satisfies {typeof published} */ ({
  DefaultAzureCredential,
  ChainedTokenCredential,
  EnvironmentCredential,
  WorkloadIdentityCredential,
  ManagedIdentityCredential,
  AzureCliCredential,
  AzurePowerShellCredential,
  AzureDeveloperCliCredential,
  AzurePipelinesCredential,
  ClientSecretCredential,
  ClientCertificateCredential,
  ClientAssertionCredential,
  OnBehalfOfCredential,
  StaticTokenCredential,
  ...classes,
})
