'use strict'

// The credentials by the names and arguments of `@azure/identity`, turned into the engine's documents.

const { native, wait } = require('./native.js')
const errors = require('./errors.js')
const { calling, errorOf, fromDocument } = errors
const { log } = require('./log.js')
const { Source, sources, memberDocument } = require('./source.js')

/** Options of every credential, by their names in the engine's document. */
const COMMON = {
  authorityHost: 'authority_host',
  cloud: 'cloud',
  additionallyAllowedTenants: 'additionally_allowed_tenants',
  disableInstanceDiscovery: 'disable_instance_discovery',
}

/** Options of the Azure SDK that mean nothing here. */
const IGNORED = new Set([
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
])

/** By credential: the foreign ones that it names, which live as long. */
const owned = new WeakMap()

class Credential {
  /** A token for one scope, `null` never. */
  async getToken(scopes, options = {}) {
    const { abortSignal, claims, tenantId, enableCae } = options ?? {}
    abortSignal?.throwIfAborted?.()
    const scope = onlyScope(scopes)
    const source = sources.get(this)
    const credential = source.credential(source.environment())
    const request = [scope, tenantId, claims, enableCae === true]
    const found =
      calling(() => credential.tryToken(...request)) ??
      (await wait((courier, id) => credential.startToken(courier, id, ...request), fromDocument, abortSignal))
    return { token: found.token, expiresOnTimestamp: found.expiresOn * 1000, tokenType: 'Bearer' }
  }
}

function onlyScope(scopes) {
  const all = Array.isArray(scopes) ? scopes : [scopes]
  if (all.length === 1 && typeof all[0] === 'string' && all[0] !== '') return all[0]
  throw errorOf(
    'invalid_configuration',
    'exactly one scope can be asked for',
    'Pass one, such as the resource with /.default.',
  )
}

/**
 * Keeps a credential's document; `own` are the arguments beside those that every credential takes, `members` the foreign
 * credentials that they name.
 */
function setUp(credential, type, options, own = {}, taken = [], members = []) {
  const name = credential.constructor.name
  /** @type {Record<string, any>} */
  const document = { type, ...present(own) }
  /** @type {import('./source.js').SourceSettings} */
  const settings = { members }
  const ignored = []
  for (const [key, value] of Object.entries(options ?? {})) {
    if (value === undefined || taken.includes(key)) continue
    if (key in COMMON) document[COMMON[key]] = value
    else if (key === 'retryOptions') document.retry = retryOf(value)
    else if (key === 'proxyOptions') settings.variables = proxyOf(value)
    else if (key === 'caFile') settings.caFile = value
    else if (IGNORED.has(key)) ignored.push(key)
    else
      throw errorOf(
        'invalid_configuration',
        `${name}: option \`${/^\w{1,64}$/.test(key) ? key : '...'}\`: not known here`,
      )
  }
  if (ignored.length > 0) log('debug', `${name}: options without effect here: ${ignored.join(', ')}`)
  // What is missing or of the wrong type is told now.
  calling(() => native.checkCredential(JSON.stringify(document)))
  sources.set(credential, new Source(document, settings))
}

function present(values) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== ''))
}

function retryOf({ maxRetries, retryDelayInMs, maxRetryDelayInMs }) {
  return present({ max_retries: maxRetries, delay: seconds(retryDelayInMs), max_delay: seconds(maxRetryDelayInMs) })
}

function seconds(milliseconds) {
  return typeof milliseconds === 'number' ? milliseconds / 1000 : milliseconds
}

function proxyOf({ host, port, username, password }) {
  const url = new URL(/^\w+:\/\//.test(host) ? host : `http://${host}`)
  if (port !== undefined) url.port = String(port)
  if (username !== undefined) url.username = username
  if (password !== undefined) url.password = password
  const proxy = url.href.replace(/\/$/, '')
  return { HTTPS_PROXY: proxy, https_proxy: proxy, HTTP_PROXY: proxy, http_proxy: proxy }
}

class DefaultAzureCredential extends Credential {
  constructor(options = {}) {
    super()
    const own = {
      tenant_id: options.tenantId,
      managed_identity_client_id: options.managedIdentityClientId,
      managed_identity_resource_id: options.managedIdentityResourceId,
      workload_identity_client_id: options.workloadIdentityClientId,
      process_timeout: seconds(options.processTimeoutInMs),
      required_env_vars:
        typeof options.requiredEnvVars === 'string' ? [options.requiredEnvVars] : options.requiredEnvVars,
    }
    setUp(this, 'default', options, own, [
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
  constructor(...credentials) {
    super()
    const members = []
    const documents = credentials.map((credential) => memberDocument(credential, members))
    const document = { type: 'chained', credentials: documents }
    calling(() => native.checkCredential(JSON.stringify(document)))
    sources.set(this, new Source(document, { members }))
    owned.set(this, credentials)
    this.length = credentials.length
  }
}

class EnvironmentCredential extends Credential {
  constructor(options) {
    super()
    setUp(this, 'environment', options)
  }
}

class WorkloadIdentityCredential extends Credential {
  constructor(options = {}) {
    super()
    const { tenantId, clientId, tokenFilePath, enableAzureProxy } = options
    const own = {
      tenant_id: tenantId,
      client_id: clientId,
      token_file_path: tokenFilePath,
      enable_azure_proxy: enableAzureProxy,
    }
    setUp(this, 'workload_identity', options, own, ['tenantId', 'clientId', 'tokenFilePath', 'enableAzureProxy'])
  }
}

class ManagedIdentityCredential extends Credential {
  constructor(first, second) {
    super()
    const options = typeof first === 'string' ? { clientId: first, ...second } : { ...first, ...second }
    const own = { client_id: options.clientId, object_id: options.objectId, resource_id: options.resourceId }
    setUp(this, 'managed_identity', options, own, ['clientId', 'objectId', 'resourceId'])
  }
}

class AzureCliCredential extends Credential {
  constructor(options = {}) {
    super()
    const { tenantId, subscription, processTimeoutInMs } = options
    const own = { tenant_id: tenantId, subscription, process_timeout: seconds(processTimeoutInMs) }
    setUp(this, 'azure_cli', options, own, ['tenantId', 'subscription', 'processTimeoutInMs'])
  }
}

class AzureDeveloperCliCredential extends Credential {
  constructor(options = {}) {
    super()
    const own = { tenant_id: options.tenantId, process_timeout: seconds(options.processTimeoutInMs) }
    setUp(this, 'azure_developer_cli', options, own, ['tenantId', 'processTimeoutInMs'])
  }
}

class AzurePowerShellCredential extends Credential {
  constructor(options = {}) {
    super()
    const own = { tenant_id: options.tenantId, process_timeout: seconds(options.processTimeoutInMs) }
    setUp(this, 'azure_powershell', options, own, ['tenantId', 'processTimeoutInMs'])
  }
}

class AzurePipelinesCredential extends Credential {
  constructor(tenantId, clientId, serviceConnectionId, systemAccessToken, options = {}) {
    super()
    const own = {
      tenant_id: tenantId,
      client_id: clientId,
      service_connection_id: serviceConnectionId,
      system_access_token: systemAccessToken,
      organization_url: options.organizationUrl,
    }
    setUp(this, 'azure_pipelines', options, own, ['organizationUrl'])
  }
}

class ClientSecretCredential extends Credential {
  constructor(tenantId, clientId, clientSecret, options) {
    super()
    setUp(this, 'client_secret', options, {
      tenant_id: tenantId,
      client_id: clientId,
      client_secret: clientSecret,
    })
  }
}

class ClientCertificateCredential extends Credential {
  constructor(tenantId, clientId, certificate, options = {}) {
    super()
    const given = typeof certificate === 'string' ? { certificatePath: certificate } : certificate
    const { sendCertificateChain } = options
    const own = { tenant_id: tenantId, client_id: clientId, ...certificateOf({ ...given, sendCertificateChain }) }
    setUp(this, 'client_certificate', options, own, ['sendCertificateChain'])
  }
}

/**
 * The members of a document for a certificate.
 *
 * @param {Record<string, any>} options
 */
function certificateOf({ certificatePath, certificate, certificatePassword, sendCertificateChain }) {
  return {
    certificate_path: certificatePath,
    certificate: certificate instanceof Uint8Array ? Buffer.from(certificate).toString('base64') : certificate,
    certificate_password: certificatePassword,
    send_certificate_chain: sendCertificateChain,
  }
}

class ClientAssertionCredential extends Credential {
  constructor(tenantId, clientId, getAssertion, options) {
    super()
    const members = []
    const own = { tenant_id: tenantId, client_id: clientId, get_assertion: assertionOf(this, getAssertion, members) }
    setUp(this, 'client_assertion', options, own, [], members)
  }
}

/** The document of what asserts an application: a function, or a credential for `api://AzureADTokenExchange`. */
function assertionOf(credential, getAssertion, members) {
  if (getAssertion === undefined) return undefined
  const isFunction = typeof getAssertion === 'function' && typeof getAssertion.getToken !== 'function'
  const source = isFunction ? async () => ({ token: await getAssertion() }) : getAssertion
  owned.set(credential, source)
  return memberDocument(source, members)
}

class OnBehalfOfCredential extends Credential {
  constructor(options = {}) {
    super()
    const members = []
    const own = {
      tenant_id: options.tenantId,
      client_id: options.clientId,
      user_assertion_token: options.userAssertionToken,
      client_secret: options.clientSecret,
      ...certificateOf(options),
      get_assertion: assertionOf(this, options.getAssertion, members),
    }
    setUp(this, 'on_behalf_of', options, own, ON_BEHALF_OF, members)
  }
}

const ON_BEHALF_OF = [
  'tenantId',
  'clientId',
  'userAssertionToken',
  'clientSecret',
  'certificatePath',
  'certificate',
  'certificatePassword',
  'sendCertificateChain',
  'getAssertion',
]

class StaticTokenCredential extends Credential {
  constructor(token, expiresOnTimestamp) {
    super()
    const ends = expiresOnTimestamp instanceof Date ? expiresOnTimestamp.getTime() : expiresOnTimestamp
    setUp(this, 'static_token', {}, { token, expires_on: typeof ends === 'number' ? Math.floor(ends / 1000) : ends })
  }
}

module.exports = {
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
  PgEntraError: errors.PgEntraError,
  CredentialUnavailableError: errors.CredentialUnavailableError,
  AuthenticationError: errors.AuthenticationError,
  AggregateAuthenticationError: errors.AggregateAuthenticationError,
  AuthenticationRequiredError: errors.AuthenticationRequiredError,
}
