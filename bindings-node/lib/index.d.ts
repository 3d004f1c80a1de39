/** As in `@azure/core-auth` and the platform's own `AbortSignal`. */
export interface AbortSignalLike {
  readonly aborted: boolean
  addEventListener(type: 'abort', listener: (this: AbortSignalLike, event: any) => any, options?: any): void
  removeEventListener(type: 'abort', listener: (this: AbortSignalLike, event: any) => any, options?: any): void
}

/** A token as a credential hands it out. */
export interface AccessToken {
  token: string
  /** Milliseconds since 1970. */
  expiresOnTimestamp: number
  /** Milliseconds since 1970: when its source wants it refreshed. */
  refreshAfterTimestamp?: number
  /** What kind of token it is. */
  tokenType?: 'Bearer' | 'pop'
}

/** What a credential may be told beside the scope. */
export interface GetTokenOptions {
  /** Ends the wait, never the fetch, which others share. */
  abortSignal?: AbortSignalLike
  /** A claims challenge (JSON text). */
  claims?: string
  /** Whether the token may be revoked by a claims challenge. */
  enableCae?: boolean
  /** Another tenant than the credential's own. */
  tenantId?: string
}

/** Anything that hands out tokens, such as the credentials of `@azure/identity`. */
export interface TokenCredential {
  getToken(scopes: string | string[], options?: GetTokenOptions): Promise<AccessToken | null>
}

/** What a credential function may return; without an end, the token's own `exp` counts. */
export type IssuedToken =
  string | { token: string; expiresOnTimestamp?: number; expiresOn?: Date; refreshAfterTimestamp?: number }

/** A function in place of a credential. One without parameters is taken to serve the database's scope only. */
export type TokenFunction = (scope: string, options: GetTokenOptions) => IssuedToken | Promise<IssuedToken>

/** What every door takes as its credential. Left out: the default chain. */
export type CredentialArgument = TokenCredential | TokenFunction

/** Options of every door. */
export interface EntraOptions {
  /** The scope to ask for; exactly one. Default: the one of the server's cloud. */
  scope?: string | string[]
  /** The server's host name, which may tell the cloud. */
  host?: string
  /** The role to log in as. Default: `PGUSER`, then the token's claims. */
  user?: string
  /** The role to log in as where the token names none. */
  fallbackUsername?: string
  /** Whether a management token may be asked for the role name. Default: true. */
  managementLookup?: boolean
  /** When tokens are refreshed. Default: `background`; `lazy` in AWS Lambda. */
  mode?: 'background' | 'lazy' | 'ahead'
  /** Whether tokens are cached. Default: true; false asks the credential at every connection. */
  cache?: boolean
  /** A PEM file of certificate authorities to trust besides the system's. */
  caFile?: string
  /** The longest wait, in milliseconds. Default, and at most: 30,000. */
  timeout?: number
  /**
   * Uses the variables of Azure Service Connector (`AZURE_POSTGRESQL_*`): true where there is one connection, else its name or
   * the prefix of its variables. They choose the credential too, so that none may be given. Default: false.
   */
  serviceConnector?: boolean | string
}

/** Options of the doors to a driver. */
export interface ConnectionOptions extends EntraOptions {
  /** Sends tokens also over connections without TLS. Default: false. */
  allowInsecureTransport?: boolean
  /** Refuses a connection that has a password of its own. Default: false. */
  requireEntra?: boolean
}

export interface EntraTokenProviderOptions extends ConnectionOptions {}
export interface ConfigureEntraAuthenticationOptions extends ConnectionOptions {}
export interface EntraConfigOptions extends ConnectionOptions {}

/**
 * A password function for pg, from 8.0.3. It finds out from its argument (pg from 8.19), or from the object that it is called as
 * a method of (pg before 8.19, postgres.js), whether the token would be sent without TLS, and refuses then. Called with neither,
 * it returns the token.
 */
export interface EntraPassword {
  (connection?: unknown): Promise<string>
  /** Tells that the server refused a token, the current one if left out. Whether there is a newer one now. */
  invalidate(token?: string): Promise<boolean>
  /** What is known of the token and its refreshes. */
  stats(): ProviderStats
}

/**
 * A password function for `password` of pg's `Client` and `Pool`. It cannot choose the user: see {@link entraConfig}.
 *
 * @throws PgEntraError `credential is required` for `null` and what is no credential; `invalid_configuration`
 */
export function entraTokenProvider(credential?: CredentialArgument, options?: EntraTokenProviderOptions): EntraPassword

/** What pg hands to a password function, from 8.19. */
export interface DriverConnection {
  host: string
  user?: string
  ssl?: unknown
  [parameter: string]: unknown
}

/**
 * The current token. As it is, `password: getEntraTokenPassword` is a password function, which refuses to send the token without
 * TLS as {@link EntraPassword} does.
 */
export function getEntraTokenPassword(
  credential?: CredentialArgument | DriverConnection,
  scope?: string,
): Promise<string>

/** As in the platform's own `URL`. */
export interface UrlLike {
  readonly href: string
  readonly hostname: string
  readonly protocol: string
}

/** The settings of a connection: no credential, and no promise. */
export interface ConnectionSettings {
  getToken?: never
  apply?: never
  then?: never
}

/** What {@link entraConfig} puts in. */
export interface EntraConnection {
  /** The role to log in as. */
  user: string
  /** Asked at each connection. A password of the config's own stays as it is. */
  password: EntraPassword
  /** `true` where the config sets none and the server is not on this machine. */
  ssl?: any
}

/**
 * The options of pg with `user`, `password` (a function) and `ssl` put in: for Pool, Client, Knex, TypeORM, Drizzle,
 * Kysely and Prisma's adapter. A connection string is taken apart.
 *
 * Rejects with PgEntraError: that of the credential where the user has to be worked out from a token,
 * `insecure_transport`, `invalid_connection`.
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

/** What {@link entraMikroOrmConfig} returns: options of MikroORM 6. */
export interface EntraMikroOrmOptions {
  host?: string
  port?: number
  dbName?: string
  user: string
  /** Hands on the password function, which pg calls with the connection. */
  password: () => Promise<{ password: any }>
  /** Everything else, with `ssl`. */
  driverOptions: { connection: Record<string, any> }
}

/**
 * The options of MikroORM 6, from the same arguments as {@link entraConfig}. It calls a password function in a way in which that
 * cannot tell whether the connection has TLS; so do not hand it another one. MikroORM 7 takes the result of {@link entraConfig} as
 * its `driverOptions`.
 */
export function entraMikroOrmConfig(
  config?: (EntraMikroOrmConfig & ConnectionSettings) | string | UrlLike,
  credential?: CredentialArgument,
  options?: EntraConfigOptions,
): Promise<EntraMikroOrmOptions>

/** Options of pg, of which some are options of MikroORM too. */
export interface EntraMikroOrmConfig {
  connectionString?: string
  host?: string
  port?: number
  database?: string
  user?: string
  ssl?: any
  [option: string]: any
}

/** What {@link entraPostgresConfig} puts in. */
export interface EntraPostgresConnection extends EntraConnection {
  /** Opens each connection when there is a token for it. */
  socket?: (place: any) => Promise<any>
}

/**
 * The same for postgres.js, from 3.1, which does not catch what a password function rejects with, and does not read `PGSSLMODE`.
 * Its queries reject with the error of the credential.
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
 * Derives from pg's `Client` a class that connects once more, with a newer token, where the server refuses the first one:
 * `new Pool({ ...(await entraConfig()), Client: retryingClient(Client) })`.
 */
export function retryingClient<Class extends new (...args: any[]) => any>(Client: Class): Class

/** What the hook needs of a Sequelize instance, where its own types do not tell that it has `addHook`. */
export interface SequelizeBeforeConnectHook {
  /** Registers a callback that runs before each new database connection. */
  beforeConnect: (callback: (config: { username?: string; password?: string }) => Promise<void>) => void
}

/** A Sequelize instance, 6 or 7. */
export interface SequelizeInstance {
  addHook: (...hook: any[]) => unknown
}

/**
 * Sets user and password of each new connection of a Sequelize instance, and TLS where none is set. A configured user
 * without a password is kept; one with a password is the old login, and both are replaced. A second call changes
 * credential and options.
 *
 * @throws PgEntraError `credential is required` for `null` and what is no credential; `invalid_configuration`
 */
export function configureEntraAuthentication<Instance extends SequelizeBeforeConnectHook | SequelizeInstance>(
  sequelize: Instance,
  credential?: CredentialArgument,
  options?: ConfigureEntraAuthenticationOptions,
): Instance

/** The name of {@link configureEntraAuthentication} in the sample repository. */
export const configureEntraIdAuth: typeof configureEntraAuthentication

/** How long a caller waits. */
export interface WaitOptions {
  /** Ends this wait, never the fetch, which others share. */
  abortSignal?: AbortSignalLike
}

/** A token and a login for PostgreSQL, kept fresh. Providers of equal settings share one cached token. */
export class TokenProvider {
  constructor(credential?: CredentialArgument, options?: EntraOptions)
  /** An access token. */
  get(options?: WaitOptions): Promise<string>
  /** Role name and token. */
  login(options?: WaitOptions): Promise<{ user: string; password: string }>
  /** Tells that a server refused a token, the current one if left out. Whether there is a newer one now. */
  invalidate(token?: string, options?: WaitOptions): Promise<boolean>
  /** What the provider knows of itself. Fetches nothing. */
  stats(): ProviderStats
}

/** What a cached token is about. Seconds. */
export interface CellStats {
  /** The credential's class name. */
  credential: string
  scope: string
  principal: { kind: string; oid: string | null; tid: string | null } | null
  /** Until the token's end; negative once passed. */
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

/** A provider's token and role. */
export interface ProviderStats extends CellStats {
  mode: 'background' | 'lazy' | 'ahead'
  role: string | null
  roleSource: string | null
}

/** Every cached token of this process. */
export function stats(): CellStats[]

/** Passes the engine's events on, in place of the listener before; `null` ends it. Without one nothing is printed. */
export function setLogger(
  listener: ((level: 'debug' | 'info' | 'warn' | 'error', message: string) => void) | null,
): void

/** Base of all errors of this library. None holds a token, a secret or a raw response body. */
export class PgEntraError extends Error {
  /** The stable name of the error's kind; the table is in https://github.com/pgentra/pgentra/blob/main/docs/errors.md. */
  readonly code: string
  /** The kind's stable number. */
  readonly kind: number
  /** The number behind `AADSTS`, where Entra gave one. */
  readonly aadsts?: number
  /** Everything the error knows, as data. */
  readonly detail: Readonly<Record<string, any>>
  /** What the program's own credential threw. */
  readonly cause?: unknown
}

/** What Entra answered. */
export interface ErrorResponse {
  error: string
  errorDescription: string
  errorCodes: number[]
  traceId?: string
  correlationId?: string
}

/** The credential is set up and brought no token. */
export class AuthenticationError extends PgEntraError {
  readonly statusCode?: number
  readonly errorResponse?: ErrorResponse
}

/** The credential is not set up on this machine; a chain goes on past it. */
export class CredentialUnavailableError extends AuthenticationError {
  /** Of a chain: its members'. */
  readonly errors?: PgEntraError[]
}

/** No credential of a chain brought a token, and not all for want of being set up. */
export class AggregateAuthenticationError extends AuthenticationError {
  readonly errors: PgEntraError[]
}

/** Entra wants the user to sign in. */
export class AuthenticationRequiredError extends AuthenticationError {}

/** The version of this library. */
export const version: string
