'use strict'

/** @import * as published from './index.js' */

const { native } = require('./native.js')
const { classes } = require('./errors.js')
const { setLogger } = require('./log.js')
const { TokenProvider, stats } = require('./provider.js')
const pg = require('./pg.js')
const { entraPostgresConfig } = require('./postgres.js')
const { configureEntraAuthentication } = require('./sequelize.js')

module.exports = /** @satisfies {typeof published} */ ({
  version: native.VERSION,
  entraTokenProvider: pg.entraTokenProvider,
  getEntraTokenPassword: pg.getEntraTokenPassword,
  // What these return has the type of what they are given, which only a declaration can say.
  entraConfig: /** @type {typeof published.entraConfig} */ (pg.entraConfig),
  entraMikroOrmConfig: /** @type {typeof published.entraMikroOrmConfig} */ (pg.entraMikroOrmConfig),
  entraPostgresConfig: /** @type {typeof published.entraPostgresConfig} */ (entraPostgresConfig),
  retryingClient: /** @type {typeof published.retryingClient} */ (pg.retryingClient),
  configureEntraAuthentication,
  configureEntraIdAuth: configureEntraAuthentication,
  TokenProvider,
  stats,
  setLogger,
  ...classes,
})
