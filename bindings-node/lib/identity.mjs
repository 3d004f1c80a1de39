// Both module systems share one implementation, so that `instanceof` works across them.
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
