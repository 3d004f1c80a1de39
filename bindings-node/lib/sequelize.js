'use strict'

// Sequelize 6 and 7.

const { errorOf } = require('./errors.js')
const { Doors, documentOf } = require('./provider.js')
const { secureSsl } = require('./connection.js')

/** By Sequelize instance: the credential and options of the last call. */
const configured = new WeakMap()

/** By connection config: what it held before any of ours was put in. Sequelize 6 uses one object for all connections. */
const seen = new WeakMap()

/** Sets user and password of each new connection of a Sequelize instance. */
function configureEntraAuthentication(sequelize, credential, options = {}) {
  if (typeof sequelize?.beforeConnect !== 'function' && typeof sequelize?.hooks?.addListener !== 'function') {
    throw errorOf(
      'invalid_connection',
      'sequelize: expected a Sequelize instance',
      'Pass what `new Sequelize(...)` returned.',
    )
  }
  // What is no credential, or no option, is told now.
  const document = { appid_as_username: true, ...documentOf(options) }
  const settings = { credential, options, document, doors: new Map() }
  doorsFor(settings, undefined)
  const isKnown = configured.has(sequelize)
  configured.set(sequelize, settings)
  if (isKnown) return sequelize
  const isSeven = Number.parseInt(sequelize.constructor?.version, 10) >= 7
  const hook = (config) => beforeConnect(config, configured.get(sequelize), isSeven)
  if (isSeven && sequelize.hooks) sequelize.hooks.addListener('beforeConnect', hook)
  else sequelize.beforeConnect(hook)
  return sequelize
}

async function beforeConnect(config, { credential, options, document, doors }, isSeven) {
  const userKey = isSeven ? 'user' : 'username'
  let had = seen.get(config)
  if (had === undefined) {
    had = { user: Boolean(config[userKey]), password: Boolean(config.password) }
    seen.set(config, had)
  }
  // A role chosen on purpose; with a password beside it, it is the old login's.
  const keepsUser = had.user && !had.password
  setTls(config, options.allowInsecureTransport, isSeven)
  const door = doorsFor({ credential, document, doors }, config.host ?? undefined)
  if (keepsUser) {
    setPassword(config, await door.token(), isSeven)
    return
  }
  const { user, password } = await door.login()
  config[userKey] = user
  setPassword(config, password, isSeven)
}

function doorsFor({ credential, document, doors }, host) {
  let found = doors.get(host)
  if (found === undefined) {
    found = new Doors(credential, { host, ...document })
    doors.set(host, found)
  }
  return found
}

function setTls(config, allowInsecure, isSeven) {
  const given = isSeven ? config.ssl : config.dialectOptions?.ssl
  const ssl = secureSsl(given, config.host ?? undefined, allowInsecure)
  if (ssl === given) return
  if (isSeven) config.ssl = ssl
  else config.dialectOptions = { ...config.dialectOptions, ssl }
}

/** Sequelize 6 prints the object it shares; 7 spreads a copy for each connection, which must be enumerable. */
function setPassword(config, value, isSeven) {
  Object.defineProperty(config, 'password', { value, enumerable: isSeven, configurable: true, writable: true })
}

module.exports = { configureEntraAuthentication }
