import { AccessToken, CredentialArgument, GetTokenOptions, TokenCredential } from './index.js'

export {
  AccessToken,
  AggregateAuthenticationError,
  AuthenticationError,
  AuthenticationRequiredError,
  CredentialUnavailableError,
  GetTokenOptions,
  PgEntraError,
  TokenCredential,
} from './index.js'

/** Options of every credential. Those of the Azure SDK's pipeline are accepted and have no effect. */
export interface CredentialOptions {
  /** Default: `AZURE_AUTHORITY_HOST`, then the cloud's. */
  authorityHost?: string
  cloud?: 'public' | 'us_government' | 'china'
  /** Tenants besides its own that a request may name; `*` is all. */
  additionallyAllowedTenants?: string[]
  /** There is no instance discovery to disable. */
  disableInstanceDiscovery?: boolean
  retryOptions?: { maxRetries?: number; retryDelayInMs?: number; maxRetryDelayInMs?: number }
  proxyOptions?: { host: string; port: number; username?: string; password?: string }
  /** A PEM file of certificate authorities to trust besides the system's. */
  caFile?: string
  loggingOptions?: object
  additionalPolicies?: object[]
  telemetryOptions?: object
  tracingOptions?: object
  userAgentOptions?: object
  tokenCachePersistenceOptions?: object
}

declare abstract class Credential implements TokenCredential {
  /** A cached token for one scope. Rejects with CredentialUnavailableError where the credential is not set up. */
  getToken(scopes: string | string[], options?: GetTokenOptions): Promise<AccessToken>
}

export interface DefaultAzureCredentialOptions extends CredentialOptions {
  tenantId?: string
  /** Default: `AZURE_CLIENT_ID`. */
  managedIdentityClientId?: string
  managedIdentityResourceId?: string
  /** Default: `AZURE_CLIENT_ID`. */
  workloadIdentityClientId?: string
  /** Of each developer tool. Default: 10,000. */
  processTimeoutInMs?: number
  /** Variables that must be set. */
  requiredEnvVars?: string | string[]
}

/** Environment, workload identity, managed identity, developer tools. */
export class DefaultAzureCredential extends Credential {
  constructor(options?: DefaultAzureCredentialOptions)
}

/** The given credentials in their order; it goes on only past those that are not set up. */
export class ChainedTokenCredential extends Credential {
  constructor(...credentials: CredentialArgument[])
  readonly length: number
}

/** What `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, and `AZURE_CLIENT_SECRET` or `AZURE_CLIENT_CERTIFICATE_PATH` say. */
export class EnvironmentCredential extends Credential {
  constructor(options?: CredentialOptions)
}

/** A federated token in a file; the arguments default to the variables that Kubernetes sets. */
export class WorkloadIdentityCredential extends Credential {
  constructor(
    options?: CredentialOptions & {
      tenantId?: string
      clientId?: string
      tokenFilePath?: string
      /** Whether requests go to the cluster's own token proxy where there is one. Default: false. */
      enableAzureProxy?: boolean
    },
  )
}

/** The identity of the machine or service; without an id, the system-assigned one. */
export class ManagedIdentityCredential extends Credential {
  constructor(clientId: string, options?: CredentialOptions)
  constructor(options?: CredentialOptions & { clientId?: string; objectId?: string; resourceId?: string })
}

/** Whoever is signed in to `az`. */
export class AzureCliCredential extends Credential {
  constructor(options?: CredentialOptions & { tenantId?: string; subscription?: string; processTimeoutInMs?: number })
}

/** Whoever is signed in to Azure PowerShell. */
export class AzurePowerShellCredential extends Credential {
  constructor(options?: CredentialOptions & { tenantId?: string; processTimeoutInMs?: number })
}

/** Whoever is signed in to `azd`. */
export class AzureDeveloperCliCredential extends Credential {
  constructor(options?: CredentialOptions & { tenantId?: string; processTimeoutInMs?: number })
}

/** An application and its secret. */
export class ClientSecretCredential extends Credential {
  constructor(tenantId: string, clientId: string, clientSecret: string, options?: CredentialOptions)
}

/** A PEM file with key and certificate, or a PFX file; read again whenever it changed. */
export interface CertificatePath {
  certificatePath: string
  certificatePassword?: string
}

/** The same by its content: PEM text, or the file as bytes or base64. */
export interface Certificate {
  certificate: string | Uint8Array
  certificatePassword?: string
}

/** An application and its certificate. */
export class ClientCertificateCredential extends Credential {
  constructor(
    tenantId: string,
    clientId: string,
    certificate: string | CertificatePath | Certificate,
    options?: CredentialOptions & {
      /** Whether the certificate goes along with those above it, for registrations by subject name. Default: false. */
      sendCertificateChain?: boolean
    },
  )
}

/** What asserts an application: a function, or a credential that is asked for `api://AzureADTokenExchange`. */
export type AssertionSource = (() => string | Promise<string>) | TokenCredential

/** An application and what somebody asserts of it. */
export class ClientAssertionCredential extends Credential {
  constructor(tenantId: string, clientId: string, getAssertion: AssertionSource, options?: CredentialOptions)
}

/** Who acts for the user, by one of a secret, a certificate and an assertion. */
export type OnBehalfOfCredentialOptions = CredentialOptions & {
  tenantId: string
  clientId: string
  /** The access token that the user sent. */
  userAssertionToken: string
  sendCertificateChain?: boolean
} & ({ clientSecret: string } | CertificatePath | Certificate | { getAssertion: AssertionSource })

/**
 * An application that acts for the user who called it. Tokens are kept by user: make one for each request, with the same
 * function or object as `getAssertion`.
 */
export class OnBehalfOfCredential extends Credential {
  constructor(options: OnBehalfOfCredentialOptions)
}

/** A task of Azure Pipelines, by its service connection. */
export class AzurePipelinesCredential extends Credential {
  constructor(
    tenantId: string,
    clientId: string,
    serviceConnectionId: string,
    systemAccessToken: string,
    options?: CredentialOptions & { organizationUrl?: string },
  )
}

/** A token from elsewhere. */
export class StaticTokenCredential extends Credential {
  /** The end in milliseconds since 1970, or a Date. Default: the token's `exp` claim. */
  constructor(token: string, expiresOnTimestamp?: number | Date)
}
