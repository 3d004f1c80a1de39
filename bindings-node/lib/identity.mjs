// One implementation for both module systems, so that `instanceof` holds across them.
import identity from './identity.js'

export const {
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
    PgEntraError,
    CredentialUnavailableError,
    AuthenticationError,
    AggregateAuthenticationError,
    AuthenticationRequiredError,
} = identity
