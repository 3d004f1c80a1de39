'use strict'

const { native } = require('./native.js')
const { classes } = require('./errors.js')
const { setLogger } = require('./log.js')
const { TokenProvider, stats } = require('./provider.js')
const pg = require('./pg.js')
const { entraPostgresConfig } = require('./postgres.js')
const { configureEntraAuthentication } = require('./sequelize.js')

module.exports = {
  version: native.VERSION,
  entraTokenProvider: pg.entraTokenProvider,
  getEntraTokenPassword: pg.getEntraTokenPassword,
  entraConfig: pg.entraConfig,
  entraPostgresConfig,
  retryingClient: pg.retryingClient,
  configureEntraAuthentication,
  configureEntraIdAuth: configureEntraAuthentication,
  TokenProvider,
  stats,
  setLogger,
  ...classes,
}
