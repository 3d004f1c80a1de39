// One implementation for both module systems, so that `instanceof` holds across them.
import identity from './identity.js'

export const {
    DefaultAzureCredential,
    ChainedTokenCredential,
    EnvironmentCredential,
    WorkloadIdentityCredential,
    ManagedIdentityCredential,
    AzureCliCredential,
    AzureDeveloperCliCredential,
    ClientSecretCredential,
    StaticTokenCredential,
    PgEntraError,
    CredentialUnavailableError,
    AuthenticationError,
    AggregateAuthenticationError,
    AuthenticationRequiredError,
} = identity
