'use strict'

/** @import * as published from './index.js' */

const { native } = require('./addon.js')
const { classes } = require('./errors.js')
const { setLogger } = require('./log.js')
const { TokenProvider, stats } = require('./provider.js')
const pg = require('./pg.js')
const pgClient = require('./pg_client.js')
const { entraPostgresConfig } = require('./postgres.js')
const { configureEntraAuthentication } = require('./sequelize.js')

module.exports = /** @satisfies {typeof published} */ ({
  version: native.VERSION,
  entraTokenProvider: pg.entraTokenProvider,
  getEntraTokenPassword: pg.getEntraTokenPassword,
  // The types of their results depend on the arguments, which only a declaration can express.
  entraConfig: /** @type {typeof published.entraConfig} */ (pg.entraConfig),
  entraMikroOrmConfig: /** @type {typeof published.entraMikroOrmConfig} */ (pg.entraMikroOrmConfig),
  entraPostgresConfig: /** @type {typeof published.entraPostgresConfig} */ (entraPostgresConfig),
  retryingClient: /** @type {typeof published.retryingClient} */ (pgClient.retryingClient),
  entraClient: /** @type {typeof published.entraClient} */ (pgClient.entraClient),
  configureEntraAuthentication,
  configureEntraIdAuth: configureEntraAuthentication,
  TokenProvider,
  stats,
  setLogger,
  ...classes,
})
