// Both module systems share one implementation, so that `instanceof` works across them.
import pgentra from './index.js'

export const {
    version,
    entraTokenProvider,
    getEntraTokenPassword,
    entraConfig,
    entraMikroOrmConfig,
    entraPostgresConfig,
    retryingClient,
    entraClient,
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
