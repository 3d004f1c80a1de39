// Compiled by tests/types.test.mjs with every check enabled, as a user's program; it is not run.

import { DefaultAzureCredential as AzureDefault } from '@azure/identity'
import type { TokenCredential as AzureTokenCredential } from '@azure/core-auth'
import { Client, Pool, type PoolConfig } from 'pg'
import { Sequelize } from 'sequelize'
import { Sequelize as Sequelize7 } from '@sequelize/core'
import { PostgresDialect } from '@sequelize/postgres'
import {
  type AccessToken,
  AggregateAuthenticationError,
  AuthenticationError,
  AuthenticationRequiredError,
  type ConfigureEntraAuthenticationOptions,
  configureEntraAuthentication,
  configureEntraIdAuth,
  CredentialUnavailableError,
  entraClient,
  entraConfig,
  entraMikroOrmConfig,
  entraPostgresConfig,
  entraTokenProvider,
  type EntraTokenProviderOptions,
  getEntraTokenPassword,
  type GetTokenOptions,
  PgEntraError,
  retryingClient,
  type SequelizeBeforeConnectHook,
  setLogger,
  stats,
  type TokenCredential,
  TokenProvider,
  version,
} from 'pgentra'
import {
  AzureCliCredential,
  AzurePipelinesCredential,
  AzurePowerShellCredential,
  ChainedTokenCredential,
  ClientAssertionCredential,
  ClientCertificateCredential,
  ClientSecretCredential,
  DefaultAzureCredential,
  ManagedIdentityCredential,
  OnBehalfOfCredential,
} from 'pgentra/identity'

export async function program(): Promise<void> {
  const options: EntraTokenProviderOptions = { scope: 'https://example/.default', timeout: 5000 }
  const password: () => Promise<string> = entraTokenProvider(new AzureDefault(), options)
  new Pool({ host: 'h', password })
  new Client({ password: entraTokenProvider() })
  new Client({ password: getEntraTokenPassword })
  const config: PoolConfig = await entraConfig({ host: 'h', max: 3 }, new DefaultAzureCredential())
  new Pool({ ...config, Client: retryingClient(Client) })
  new Pool({ host: 'h', Client: entraClient(Client, new DefaultAzureCredential(), { ignorePassword: true }) })
  const url: string = await new TokenProvider().url({ host: 'h', port: 5432, database: 'd' }, { timeout: 5000 })
  await new TokenProvider().get({ signal: new AbortController().signal, timeout: url.length })
  const forPostgres: { user: string; max: number } = await entraPostgresConfig({ host: 'h', max: 3 })
  const { max, user }: { max: number; user: string } = await entraConfig({ max: 3 })
  await entraConfig('postgres://h/d', async (scope: string) => ({ token: scope, expiresOnTimestamp: 1 }))

  const hook: ConfigureEntraAuthenticationOptions = { fallbackUsername: 'app' }
  const sequelize: Sequelize = configureEntraAuthentication(new Sequelize({ dialect: 'postgres' }), undefined, hook)
  configureEntraIdAuth(sequelize, new AzureDefault())
  const seven: Sequelize7<PostgresDialect> = configureEntraAuthentication(new Sequelize7({ dialect: PostgresDialect }))
  const needed: SequelizeBeforeConnectHook = configureEntraAuthentication({ beforeConnect() {} })

  const mine: TokenCredential = {
    async getToken(scopes: string | string[], given?: GetTokenOptions): Promise<AccessToken | null> {
      return scopes.length && given?.claims ? null : { token: 't', expiresOnTimestamp: 1 }
    },
  }
  const provider = new TokenProvider(mine, { mode: 'ahead' })
  const login: { user: string; password: string } = await provider.login({ abortSignal: AbortSignal.timeout(5) })
  const renewed: boolean = await provider.invalidate(login.password)
  const left: number | null = provider.stats().expiresIn

  // Credentials of pgentra in the Azure SDK, and those of the Azure SDK in pgentra.
  const forAzure: AzureTokenCredential = new ChainedTokenCredential(
    new ManagedIdentityCredential('id'),
    new ManagedIdentityCredential({ resourceId: 'id' }),
    new AzureCliCredential({ processTimeoutInMs: 1 }),
    new ClientSecretCredential('t', 'c', 's', { authorityHost: 'https://login.example' }),
    new AzurePowerShellCredential({ tenantId: 't' }),
    new AzurePipelinesCredential('t', 'c', 's', 'token', { organizationUrl: 'https://dev.azure.com/o' }),
    new ClientCertificateCredential('t', 'c', '/app.pem', { sendCertificateChain: true }),
    new ClientCertificateCredential('t', 'c', { certificate: new Uint8Array(), certificatePassword: 'p' }),
    new ClientAssertionCredential('t', 'c', async () => 'assertion'),
    new ClientAssertionCredential('t', 'c', new ManagedIdentityCredential()),
    new OnBehalfOfCredential({ tenantId: 't', clientId: 'c', userAssertionToken: 'u', clientSecret: 's' }),
    new AzureDefault(),
  )
  const token: AccessToken | null = await forAzure.getToken('scope')

  try {
    await getEntraTokenPassword(new AzureDefault(), 'scope')
  } catch (error) {
    if (error instanceof AggregateAuthenticationError) error.errors.map((one: PgEntraError) => one.code)
    if (error instanceof AuthenticationError) error.errorResponse?.errorCodes.includes(error.statusCode ?? 0)
    if (error instanceof CredentialUnavailableError || error instanceof AuthenticationRequiredError) throw error.cause
    if (error instanceof PgEntraError) [error.aadsts, error.kind, error.detail['advice']].sort()
  }
  setLogger((level: string, message: string) => [level, message])
  setLogger(null)

  const mikro = await entraMikroOrmConfig({ host: 'h', database: 'd' }, undefined, { serviceConnector: 'orders' })
  const dynamic: { password?: () => Promise<{ password: string }>; dbName?: string } = mikro
  new Pool(await entraConfig(new URL('postgres://h'), undefined, { serviceConnector: true }))
  await entraMikroOrmConfig(new URL('postgres://h'))
  const given: PoolConfig = { host: 'h' }
  new Pool(await entraConfig(given))
  await entraConfig(process.env['DATABASE_URL'])
  new Client({ password: entraTokenProvider(undefined, { serviceConnector: true }) })
  await getEntraTokenPassword({ host: 'h', ssl: true })

  // @ts-expect-error: a credential where the settings belong
  await entraConfig(new DefaultAzureCredential())
  // @ts-expect-error: a credential where the settings belong
  await entraConfig(mine, mine)
  // @ts-expect-error: a function where the settings belong
  await entraConfig(async () => 'token')
  // @ts-expect-error: a promise where the settings belong
  await entraConfig(Promise.resolve({ host: 'h' }))
  // @ts-expect-error: a credential where the settings belong
  await entraPostgresConfig(new AzureDefault())
  // @ts-expect-error: a credential where the settings belong
  await entraMikroOrmConfig(mine)
  // @ts-expect-error: settings where the credential belongs
  await entraConfig({ host: 'h' }, { host: 'h' })
  // @ts-expect-error: a credential where the options belong
  await entraConfig({ host: 'h' }, undefined, mine)
  // @ts-expect-error: settings where the credential belongs
  entraTokenProvider({ host: 'h' })
  // @ts-expect-error: a credential where the options belong
  entraTokenProvider(undefined, mine)
  // @ts-expect-error: options where the credential belongs
  new TokenProvider({ scope: 's' })
  // @ts-expect-error: a credential where the options belong
  new TokenProvider(undefined, mine)
  // @ts-expect-error: options where the credential belongs
  await getEntraTokenPassword({ scope: 's' })
  // @ts-expect-error: options where the scope belongs
  await getEntraTokenPassword(mine, { scope: 's' })
  // @ts-expect-error: the credential before the instance
  configureEntraAuthentication(mine, sequelize)
  // @ts-expect-error: options where the credential belongs
  configureEntraAuthentication(sequelize, { fallbackUsername: 'app' })
  // @ts-expect-error: a credential where the class belongs
  retryingClient(mine)
  // @ts-expect-error: neither true nor a name
  await entraConfig({}, undefined, { serviceConnector: 5 })
  // @ts-expect-error: an unknown option
  entraTokenProvider(undefined, { scoop: 1 })
  // @ts-expect-error: not a credential
  new TokenProvider(7)
  // @ts-expect-error: the secret is missing
  new ClientSecretCredential('t', 'c')
  // @ts-expect-error: the application's proof is missing
  new OnBehalfOfCredential({ tenantId: 't', clientId: 'c', userAssertionToken: 'u' })
  void [dynamic, forPostgres, max, user, seven, needed, renewed, left, token, stats(), version]
}
