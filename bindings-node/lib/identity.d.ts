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

/** The options of every credential. The pipeline options of the Azure SDK are accepted and have no effect. */
export interface CredentialOptions {
  /** Default: `AZURE_AUTHORITY_HOST`, then that of the cloud. */
  authorityHost?: string
  cloud?: 'public' | 'us_government' | 'china'
  /** Tenants that a request can use in addition to the credential's own; `*` means all. */
  additionallyAllowedTenants?: string[]
  /** Has no effect: there is no instance discovery. */
  disableInstanceDiscovery?: boolean
  retryOptions?: { maxRetries?: number; retryDelayInMs?: number; maxRetryDelayInMs?: number }
  proxyOptions?: { host: string; port: number; username?: string; password?: string }
  /** A PEM file of certificate authorities to trust in addition to the system's. */
  caFile?: string
  loggingOptions?: object
  additionalPolicies?: object[]
  telemetryOptions?: object
  tracingOptions?: object
  userAgentOptions?: object
  tokenCachePersistenceOptions?: object
}

declare abstract class Credential implements TokenCredential {
  /** Returns a cached token for one scope. Rejects with CredentialUnavailableError if the credential is not available here. */
  getToken(scopes: string | string[], options?: GetTokenOptions): Promise<AccessToken>
}

export interface DefaultAzureCredentialOptions extends CredentialOptions {
  tenantId?: string
  /** Default: `AZURE_CLIENT_ID`. */
  managedIdentityClientId?: string
  managedIdentityResourceId?: string
  /** Default: `AZURE_CLIENT_ID`. */
  workloadIdentityClientId?: string
  /** The time limit of each developer tool in milliseconds. Default: 10,000. */
  processTimeoutInMs?: number
  /** Names of variables that must be set. */
  requiredEnvVars?: string | string[]
}

/** The default chain: environment, workload identity, managed identity, developer tools. */
export class DefaultAzureCredential extends Credential {
  constructor(options?: DefaultAzureCredentialOptions)
}

/** Tries the given credentials in their order. Continues only after a credential that is not available here. */
export class ChainedTokenCredential extends Credential {
  constructor(...credentials: CredentialArgument[])
  readonly length: number
}

/** The application in `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, and `AZURE_CLIENT_SECRET` or `AZURE_CLIENT_CERTIFICATE_PATH`. */
export class EnvironmentCredential extends Credential {
  constructor(options?: CredentialOptions)
}

/** An application with a federated token in a file. Defaults: the variables that Kubernetes sets. */
export class WorkloadIdentityCredential extends Credential {
  constructor(
    options?: CredentialOptions & {
      tenantId?: string
      clientId?: string
      tokenFilePath?: string
      /** Whether requests are sent to the cluster's token proxy if there is one. Default: false. */
      enableAzureProxy?: boolean
    },
  )
}

/** The managed identity of the machine or service. Without an id: the system-assigned identity. */
export class ManagedIdentityCredential extends Credential {
  constructor(clientId: string, options?: CredentialOptions)
  constructor(options?: CredentialOptions & { clientId?: string; objectId?: string; resourceId?: string })
}

/** The user or application that is signed in to the Azure CLI (`az`). */
export class AzureCliCredential extends Credential {
  constructor(options?: CredentialOptions & { tenantId?: string; subscription?: string; processTimeoutInMs?: number })
}

/** The user or application that is signed in to Azure PowerShell. */
export class AzurePowerShellCredential extends Credential {
  constructor(options?: CredentialOptions & { tenantId?: string; processTimeoutInMs?: number })
}

/** The user or application that is signed in to the Azure Developer CLI (`azd`). */
export class AzureDeveloperCliCredential extends Credential {
  constructor(options?: CredentialOptions & { tenantId?: string; processTimeoutInMs?: number })
}

/** An application with a client secret. */
export class ClientSecretCredential extends Credential {
  constructor(tenantId: string, clientId: string, clientSecret: string, options?: CredentialOptions)
}

/** A PEM file with key and certificate, or a PFX file. It is read again after a change. */
export interface CertificatePath {
  certificatePath: string
  certificatePassword?: string
}

/** The content of such a file: PEM text, or the file as bytes or base64. */
export interface Certificate {
  certificate: string | Uint8Array
  certificatePassword?: string
}

/** An application with a certificate. */
export class ClientCertificateCredential extends Credential {
  constructor(
    tenantId: string,
    clientId: string,
    certificate: string | CertificatePath | Certificate,
    options?: CredentialOptions & {
      /** Whether the certificate chain is sent, for registrations by subject name. Default: false. */
      sendCertificateChain?: boolean
    },
  )
}

/** The source of a client assertion: a function, or a credential whose token for `api://AzureADTokenExchange` is used. */
export type AssertionSource = (() => string | Promise<string>) | TokenCredential

/** An application with a client assertion. */
export class ClientAssertionCredential extends Credential {
  constructor(tenantId: string, clientId: string, getAssertion: AssertionSource, options?: CredentialOptions)
}

/** The application that acts for the user: with a secret, a certificate or an assertion. */
export type OnBehalfOfCredentialOptions = CredentialOptions & {
  tenantId: string
  clientId: string
  /** The access token that the user sent. */
  userAssertionToken: string
  sendCertificateChain?: boolean
} & ({ clientSecret: string } | CertificatePath | Certificate | { getAssertion: AssertionSource })

/**
 * An application that acts for the user of a request. Tokens are cached by user: create a credential for each request, with the
 * same function or object as `getAssertion`.
 */
export class OnBehalfOfCredential extends Credential {
  constructor(options: OnBehalfOfCredentialOptions)
}

/** A task of Azure Pipelines with a service connection. */
export class AzurePipelinesCredential extends Credential {
  constructor(
    tenantId: string,
    clientId: string,
    serviceConnectionId: string,
    systemAccessToken: string,
    options?: CredentialOptions & { organizationUrl?: string },
  )
}

/** A token that the application supplies. */
export class StaticTokenCredential extends Credential {
  /** `expiresOnTimestamp`: milliseconds since 1970, or a Date. Default: the token's `exp` claim. */
  constructor(token: string, expiresOnTimestamp?: number | Date)
}
