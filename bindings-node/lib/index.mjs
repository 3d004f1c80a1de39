// One implementation for both module systems, so that `instanceof` holds across them.
import pgentra from './index.js'

export const {
    version,
    entraTokenProvider,
    getEntraTokenPassword,
    entraConfig,
    entraMikroOrmConfig,
    entraPostgresConfig,
    retryingClient,
    configureEntraAuthentication,
    configureEntraIdAuth,
    TokenProvider,
    stats,
    setLogger,
    PgEntraError,
    CredentialUnavailableError,
    AuthenticationError,
    AggregateAuthenticationError,
    AuthenticationRequiredError,
} = pgentra
