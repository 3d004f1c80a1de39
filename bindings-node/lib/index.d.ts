/** The interface of `@azure/core-auth`, which the platform's `AbortSignal` implements. */
export interface AbortSignalLike {
  readonly aborted: boolean
  addEventListener(type: 'abort', listener: (this: AbortSignalLike, event: any) => any, options?: any): void
  removeEventListener(type: 'abort', listener: (this: AbortSignalLike, event: any) => any, options?: any): void
}

/** A credential's token. */
export interface AccessToken {
  token: string
  /** Milliseconds since 1970. */
  expiresOnTimestamp: number
  /** Milliseconds since 1970: the refresh time that the token source suggests. */
  refreshAfterTimestamp?: number
  /** The type of the token. */
  tokenType?: 'Bearer' | 'pop'
}

/** The options of a token request. */
export interface GetTokenOptions {
  /** Ends this wait. The fetch continues, because other callers share it. */
  abortSignal?: AbortSignalLike
  /** A claims challenge (JSON text). */
  claims?: string
  /** Whether a claims challenge can revoke the token. */
  enableCae?: boolean
  /** The tenant, if it is not the credential's own. */
  tenantId?: string
}

/** An object that returns tokens, such as the credentials of `@azure/identity`. */
export interface TokenCredential {
  getToken(scopes: string | string[], options?: GetTokenOptions): Promise<AccessToken | null>
}

/** The result of a credential function. Without an expiry, the token's `exp` claim is used. */
export type IssuedToken =
  string | { token: string; expiresOnTimestamp?: number; expiresOn?: Date; refreshAfterTimestamp?: number }

/** A function as a credential. A function without parameters is called for the database's scope only. */
export type TokenFunction = (scope: string, options: GetTokenOptions) => IssuedToken | Promise<IssuedToken>

/** The credential of every entry point. Default: the default chain. */
export type CredentialArgument = TokenCredential | TokenFunction

/** The options of every entry point. */
export interface EntraOptions {
  /** The scope of the token; exactly one. Default: the scope of the server's cloud. */
  scope?: string | string[]
  /** The server's host name, from which the cloud can be derived. */
  host?: string
  /** The role to log in as. Default: `PGUSER`, then the token's claims. */
  user?: string
  /** The role to log in as if the token contains no name. */
  fallbackUsername?: string
  /** Whether the role name may be looked up in a management token. Default: true. */
  managementLookup?: boolean
  /** When tokens are refreshed. Default: `background`; `lazy` in AWS Lambda. */
  mode?: 'background' | 'lazy' | 'ahead'
  /** Whether tokens are cached. Default: true. With false, the credential is called for every connection. */
  cache?: boolean
  /** A PEM file of certificate authorities to trust in addition to the system's. */
  caFile?: string
  /** The longest wait in milliseconds. Default and maximum: 30,000. */
  timeout?: number
  /**
   * Uses the variables of Azure Service Connector (`AZURE_POSTGRESQL_*`): true if there is one connection, otherwise its name or
   * the prefix of its variables. They also select the credential, so it is an error to pass one. Default: false.
   */
  serviceConnector?: boolean | string
}

/** The options of the entry points for a driver. */
export interface ConnectionOptions extends EntraOptions {
  /** Whether tokens may be sent without TLS. Default: false. */
  allowInsecureTransport?: boolean
  /** Whether a password in the connection's settings is an error. Default: false. */
  requireEntra?: boolean
  /**
   * Drops the password of the connection's settings and keeps the user, for settings that must contain a placeholder password.
   * It is an error together with `requireEntra`. Default: false.
   */
  ignorePassword?: boolean
}

export interface EntraTokenProviderOptions extends ConnectionOptions {}
export interface ConfigureEntraAuthenticationOptions extends ConnectionOptions {}
export interface EntraConfigOptions extends ConnectionOptions {}

/**
 * A password function for pg from 8.0.3. It reads the connection from its argument (pg from 8.19) or from the object that it is
 * called as a method of (pg before 8.19, postgres.js), and rejects with `insecure_transport` if the token would be sent without
 * TLS. Called with neither, it returns the token. It must not be converted to a text, as pg-native does: that throws.
 */
export interface EntraPassword {
  (connection?: unknown): Promise<string>
  /** Reports that the server rejected a token (default: the current one). Returns whether a newer token is available. */
  invalidate(token?: string): Promise<boolean>
  /** Returns statistics of the token and its refreshes. */
  stats(): ProviderStats
}

/**
 * Creates a password function for `password` of pg's `Client` and `Pool`. It cannot set the user: see {@link entraConfig}.
 *
 * @throws PgEntraError `credential is required` for `null` and for a value that is not a credential; `invalid_configuration`
 */
export function entraTokenProvider(credential?: CredentialArgument, options?: EntraTokenProviderOptions): EntraPassword

/** The argument that pg from 8.19 passes to a password function. */
export interface DriverConnection {
  host: string
  user?: string
  ssl?: unknown
  [parameter: string]: unknown
}

/**
 * Returns the current token. `password: getEntraTokenPassword` is also a password function itself, which checks TLS as
 * {@link EntraPassword} does.
 */
export function getEntraTokenPassword(
  credential?: CredentialArgument | DriverConnection,
  scope?: string,
): Promise<string>

/** The part of the platform's `URL` that is used. */
export interface UrlLike {
  readonly href: string
  readonly hostname: string
  readonly protocol: string
}

/** The settings of a connection; not a credential or a promise. */
export interface ConnectionSettings {
  getToken?: never
  apply?: never
  then?: never
}

/** The settings that {@link entraConfig} adds. */
export interface EntraConnection {
  /** The role to log in as. */
  user: string
  /** Called for each connection. A password in the settings is kept. */
  password: EntraPassword
  /** `true` if the settings have no `ssl` and the server is not local. */
  ssl?: any
}

/**
 * Returns pg's options with `user`, `password` (a function) and `ssl`: for Pool, Client, Knex, TypeORM, Drizzle, Kysely and
 * Prisma's adapter. A connection string is parsed.
 *
 * Rejects with PgEntraError: the credential's error if the user has to be taken from a token, `insecure_transport`,
 * `invalid_connection`.
 */
export function entraConfig(
  config: UrlLike,
  credential?: CredentialArgument,
  options?: EntraConfigOptions,
): Promise<EntraConnection>
export function entraConfig<Config extends object = {}>(
  config?: (Config & ConnectionSettings) | string,
  credential?: CredentialArgument,
  options?: EntraConfigOptions,
): Promise<Omit<Config, 'connectionString' | 'user' | 'password' | 'ssl'> & EntraConnection>

/** The result of {@link entraMikroOrmConfig}: options of MikroORM 6. */
export interface EntraMikroOrmOptions {
  host?: string
  port?: number
  dbName?: string
  user: string
  /** Passes on the password function, which pg calls with the connection. */
  password: () => Promise<{ password: any }>
  /** All other options, with `ssl`. */
  driverOptions: { connection: Record<string, any> }
}

/**
 * Returns the options of MikroORM 6, from the same arguments as {@link entraConfig}. MikroORM 6 calls a password function without
 * the connection, so that other password functions cannot check TLS: do not use them. MikroORM 7 accepts the result of
 * {@link entraConfig} as its `driverOptions`.
 */
export function entraMikroOrmConfig(
  config?: (EntraMikroOrmConfig & ConnectionSettings) | string | UrlLike,
  credential?: CredentialArgument,
  options?: EntraConfigOptions,
): Promise<EntraMikroOrmOptions>

/** Options of pg. Some of them are also options of MikroORM. */
export interface EntraMikroOrmConfig {
  connectionString?: string
  host?: string
  port?: number
  database?: string
  user?: string
  ssl?: any
  [option: string]: any
}

/** The settings that {@link entraPostgresConfig} adds. */
export interface EntraPostgresConnection extends EntraConnection {
  /** Opens each connection after its token is available. */
  socket?: (options: any) => Promise<any>
}

/**
 * Returns the options of postgres.js from 3.1. It does not catch the rejection of a password function and does not read
 * `PGSSLMODE`, so the token is requested before a connection is opened. Queries reject with the credential's error.
 */
export function entraPostgresConfig(
  config: UrlLike,
  credential?: CredentialArgument,
  options?: EntraConfigOptions,
): Promise<EntraPostgresConnection>
export function entraPostgresConfig<Config extends object = {}>(
  config?: (Config & ConnectionSettings) | string,
  credential?: CredentialArgument,
  options?: EntraConfigOptions,
): Promise<
  Omit<Config, 'connectionString' | 'hostname' | 'db' | 'username' | 'pass' | 'user' | 'password' | 'ssl'> &
    EntraPostgresConnection
>

/**
 * Returns a class that derives from pg's `Client`. If the server rejects the token, it connects once more with a newer token;
 * otherwise the server's error is raised with an explanation:
 * `new Pool({ ...(await entraConfig()), Client: retryingClient(Client) })`.
 *
 * @throws PgEntraError `invalid_connection` for a class that is not pg's `Client`, such as that of pg-native
 */
export function retryingClient<Class extends new (...args: any[]) => any>(Client: Class): Class

/**
 * Returns a class that derives from pg's `Client` and determines user, password and TLS of each connection as {@link entraConfig}
 * does, without an `await`: `new Pool({ host, database, Client: entraClient(Client) })`. It retries and explains a rejected login
 * as {@link retryingClient} does. Errors in the settings are raised when a client connects.
 *
 * @throws PgEntraError `invalid_connection` as {@link retryingClient}; `credential is required`; `invalid_configuration`
 */
export function entraClient<Class extends new (...args: any[]) => any>(
  Client: Class,
  credential?: CredentialArgument,
  options?: EntraConfigOptions,
): Class

/** A Sequelize instance whose types do not contain `addHook`. */
export interface SequelizeBeforeConnectHook {
  /** Registers a callback that runs before each new database connection. */
  beforeConnect: (callback: (config: { username?: string; password?: string }) => Promise<void>) => void
}

/** A Sequelize instance, 6 or 7. */
export interface SequelizeInstance {
  addHook: (...hook: any[]) => unknown
}

/**
 * Sets user and password of each new connection of a Sequelize instance, and TLS if it is not configured. A configured user
 * without a password is kept. A user with a password is the previous login, and both are replaced. If the server rejects the token,
 * the instance connects once more with a newer token; otherwise its error is raised with an explanation. A second call changes
 * credential and options.
 *
 * @throws PgEntraError `credential is required` for `null` and for a value that is not a credential; `invalid_configuration`
 */
export function configureEntraAuthentication<Instance extends SequelizeBeforeConnectHook | SequelizeInstance>(
  sequelize: Instance,
  credential?: CredentialArgument,
  options?: ConfigureEntraAuthenticationOptions,
): Instance

/** The name of {@link configureEntraAuthentication} in the sample repository. */
export const configureEntraIdAuth: typeof configureEntraAuthentication

/** The options of one wait. */
export interface WaitOptions {
  /** Ends this wait. The fetch continues, because other callers share it. */
  signal?: AbortSignalLike
  /** The same, by the name that the Azure SDK uses. */
  abortSignal?: AbortSignalLike
  /** The longest wait in milliseconds. Default: the option of the provider. */
  timeout?: number
}

/**
 * The server of a URL. Settings that are missing are read from Service Connector's variables or from `PGHOST`, `PGPORT` and
 * `PGDATABASE`. The host is required.
 */
export interface UrlSettings {
  host?: string
  port?: number | string
  database?: string
  /** Default: the role of the provider. */
  user?: string
}

/** Returns a token or a login for PostgreSQL, which is refreshed before it expires. Equal providers share one cached token. */
export class TokenProvider {
  constructor(credential?: CredentialArgument, options?: EntraOptions)
  /** Returns an access token. */
  get(options?: WaitOptions): Promise<string>
  /** Returns the role name and a token. */
  login(options?: WaitOptions): Promise<{ user: string; password: string }>
  /**
   * Returns a connection URL for tools that accept only a URL: with the role, a token as the password, and
   * `sslmode=verify-full`. The URL is a secret, and it can be used until the token expires: do not log or store it.
   *
   * Rejects with PgEntraError: the credential's error, `invalid_connection` without a host and for a password.
   */
  url(server?: UrlSettings | string, options?: WaitOptions): Promise<string>
  /** Reports that a server rejected a token (default: the current one). Returns whether a newer token is available. */
  invalidate(token?: string, options?: WaitOptions): Promise<boolean>
  /** Returns the provider's statistics. Fetches no token. */
  stats(): ProviderStats
}

/** Statistics of a cached token. Times are in seconds. */
export interface CellStats {
  /** The credential's class name. */
  credential: string
  scope: string
  principal: { kind: string; oid: string | null; tid: string | null } | null
  /** The time until the token expires; negative after that. */
  expiresIn: number | null
  refreshDueIn: number | null
  /** Since 1970. */
  lastSuccess: number | null
  consecutiveFailures: number
  lastError: string | null
  inFlight: boolean
  fetches: number
  failures: number
  refreshes: number
  invalidations: number
}

/** Statistics of a provider. */
export interface ProviderStats extends CellStats {
  mode: 'background' | 'lazy' | 'ahead'
  role: string | null
  roleSource: string | null
}

/** Returns the statistics of all cached tokens of this process. */
export function stats(): CellStats[]

/**
 * Passes log events to `listener`, which replaces the previous one; `null` removes it. Without a listener, only warnings that
 * Entra is not used are shown, as warnings of the process (`PgEntraWarning`).
 */
export function setLogger(
  listener: ((level: 'debug' | 'info' | 'warn' | 'error', message: string) => void) | null,
): void

/** The base class of all errors of pgentra. Errors contain no token, no secret and no raw response body. */
export class PgEntraError extends Error {
  /** The stable name of the error kind: see https://github.com/pgentra/pgentra/blob/main/docs/errors.md. */
  readonly code: string
  /** The stable number of the error kind. */
  readonly kind: number
  /** The number after `AADSTS`, if Entra returned one. */
  readonly aadsts?: number
  /** The data of the error. */
  readonly detail: Readonly<Record<string, any>>
  /** What a custom credential threw. */
  readonly cause?: unknown
}

/** Entra's error response. */
export interface ErrorResponse {
  error: string
  errorDescription: string
  errorCodes: number[]
  traceId?: string
  correlationId?: string
}

/** The credential is configured and the token request failed. */
export class AuthenticationError extends PgEntraError {
  readonly statusCode?: number
  readonly errorResponse?: ErrorResponse
}

/** The credential is not available here; a chain continues with its next member. */
export class CredentialUnavailableError extends AuthenticationError {
  /** The errors of a chain's members. */
  readonly errors?: PgEntraError[]
}

/** No member of a chain returned a token, and at least one was available. */
export class AggregateAuthenticationError extends AuthenticationError {
  readonly errors: PgEntraError[]
}

/** Entra requires the user to sign in. */
export class AuthenticationRequiredError extends AuthenticationError {}

/** The version of this library. */
export const version: string
