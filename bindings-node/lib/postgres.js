'use strict'

// postgres.js. It calls a password function where nobody catches what that rejects with, which would end the process, and
// it does not read PGSSLMODE. So the token is there before the connection is opened, and TLS is asked for in words.

const net = require('node:net')
const { entraConfig } = require('./pg.js')

/** @import { ConnectionOptions, CredentialArgument } from './index.js' */
/** @import { Settings } from './connection.js' */

/**
 * The options of postgres.js with user, password function and TLS put in.
 *
 * @param {Settings | string} [config]
 * @param {CredentialArgument} [credential]
 * @param {ConnectionOptions} [options]
 */
async function entraPostgresConfig(config = {}, credential, options = {}) {
  const settings = await entraConfig(config, credential, options)
  const password = settings.password
  if (typeof password !== 'function') return settings
  /** @type {string | undefined} */
  let latest
  return {
    ...settings,
    ssl: settings.ssl ?? sslOfEnvironment(),
    password: Object.assign(async () => latest, { invalidate: password.invalidate, stats: password.stats }),
    /** @param {Place} place */
    async socket(place) {
      latest = await password()
      return openSocket(place)
    },
  }
}

/** As pg reads PGSSLMODE. */
function sslOfEnvironment() {
  const mode = process.env.PGSSLMODE
  if (mode === undefined || mode === '' || mode === 'disable' || mode === 'allow') return false
  return mode === 'no-verify' ? { rejectUnauthorized: false } : true
}

/** @typedef {{ host: string[], port: number[], path?: string | false, connect_timeout: number }} Place */

/** @param {Place} place the options of postgres.js, as it has read them; the first host that answers is taken */
async function openSocket({ host: hosts, port: ports, path, connect_timeout: limit }) {
  if (path) return connected({ path }, limit)
  let problem
  for (const [index, host] of hosts.entries()) {
    const port = ports[index] ?? 5432
    try {
      // postgres.js reads the name to verify the certificate by from the socket.
      return Object.assign(await connected({ host, port }, limit), { host, port })
    } catch (error) {
      problem = error
    }
  }
  throw problem
}

/**
 * @param {net.NetConnectOpts} place
 * @param {number} limit seconds
 * @returns {Promise<net.Socket>}
 */
function connected(place, limit) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(place)
    const timer = setTimeout(
      () => socket.destroy(new Error(`no connection to the server within ${limit} s`)),
      limit * 1000,
    )
    const end = () => {
      clearTimeout(timer)
      socket.removeAllListeners()
    }
    socket.once('connect', () => {
      end()
      resolve(socket)
    })
    socket.once('error', (error) => {
      end()
      reject(error)
    })
  })
}

module.exports = { entraPostgresConfig }
