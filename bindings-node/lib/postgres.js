'use strict'

// postgres.js. It calls a password function where nobody catches what that rejects with, which would end the process, and
// it does not read PGSSLMODE. So the token is there before the connection is opened, and TLS is asked for in words.

const net = require('node:net')
const { readConfig, portOf, requireTls, sslmodeOf, textOf, wrongType, TLS_SETTINGS } = require('./connection.js')
const { known, loginOf, set } = require('./pg.js')

/** @import { ConnectionOptions, CredentialArgument, EntraPassword } from './index.js' */
/** @import { Text } from './connection.js' */

/** The parameters of a URL that postgres.js takes for options of its own; others are the server's. */
const OPTIONS = [
  'max',
  'sslnegotiation',
  'idle_timeout',
  'connect_timeout',
  'max_lifetime',
  'max_pipeline',
  'backoff',
  'keep_alive',
  'prepare',
  'debug',
  'fetch_types',
  'publications',
  'target_session_attrs',
]

/** How postgres.js spells an option in other ways; the first one counts. */
const NAMES = {
  host: ['hostname', 'host'],
  database: ['database', 'db'],
  user: ['user', 'username'],
  password: ['pass', 'password'],
}

/** The words of postgres.js for `ssl`. */
const SSL_WORDS = ['require', 'allow', 'prefer', 'verify-full']

/**
 * The options of postgres.js with user, password function and TLS put in.
 *
 * @param {object | string | URL} [config]
 * @param {CredentialArgument} [credential]
 * @param {ConnectionOptions} [options]
 */
async function entraPostgresConfig(config = {}, credential, options = {}) {
  const { given, text } = readConfig(config)
  const { settings, hosts, ports, rest } = readOptions(given)
  const login = await loginOf({ ...settings, ...set({ host: hosts?.join(',') }) }, text, credential, options)
  const all = login.text
  const { database = all.dbname, path, ssl } = /** @type {Record<string, any>} */ (settings)
  const server = path ? { path } : serverOf(hosts ?? list(all.host), ports ?? list(all.port)?.map(portOf))
  const connection = { ...parametersOf(all), .../** @type {object} */ (rest.connection ?? {}) }
  const made = {
    ...optionsOf(all),
    ...rest,
    ...server,
    ...set({ database, user: login.user, password: login.password, ssl: login.ssl }),
    ...(Object.keys(connection).length > 0 && { connection }),
  }
  // Its own words mean less than pg's, and are kept where they were chosen.
  if (login.plan.sslmode === null && typeof ssl === 'string' && SSL_WORDS.includes(ssl)) made.ssl = ssl
  const facts = typeof login.password === 'function' ? known.get(login.password) : undefined
  if (facts === undefined) return made
  const { doors, allowInsecure } = facts
  const { invalidate, stats } = /** @type {EntraPassword} */ (login.password)
  /** @type {string | undefined} */
  let latest
  let next = 0
  return {
    ...made,
    ssl: made.ssl ?? sslOfEnvironment(),
    password: Object.assign(async () => latest, { invalidate, stats }),
    /** @param {Place} place */
    async socket(place) {
      requireTls(place, undefined, allowInsecure)
      const limit = Number(place.connect_timeout) * 1000
      const started = performance.now()
      latest = await doors.token(limit > 0 ? { limit } : {})
      const left = limit > 0 ? Math.max(limit - (performance.now() - started), 1) : 0
      // For a server of a certain kind, postgres.js connects until it finds one.
      const first = place.target_session_attrs ? next : 0
      const { socket, index } = await openSocket(place, first, left)
      next = index + 1
      return socket
    },
  }
}

/**
 * What postgres.js reads of its options, by pg's names, the servers as lists, and the rest.
 *
 * @param {Record<string, unknown>} given
 */
function readOptions(given) {
  const rest = { ...given }
  /** @type {Record<string, unknown>} */
  const settings = set({ ssl: given.ssl ?? undefined, port: undefined })
  for (const [name, names] of Object.entries(NAMES)) {
    for (const spelled of names) {
      settings[name] ??= given[spelled] || undefined
      delete rest[spelled]
    }
  }
  for (const name of ['port', 'ssl', 'path']) delete rest[name]
  const { host } = settings
  const path = textOf('path', given.path)
  delete settings.host
  // A socket is on this machine, wherever its path begins.
  if (path !== undefined) return { settings: { ...settings, path, host: '/' }, rest }
  const hosts = Array.isArray(host) ? host : list(textOf('host', host))
  if (hosts?.some((one) => typeof one !== 'string')) throw wrongType('host', 'a string or a list of strings', hosts)
  if (hosts === undefined || hosts.length === 0) return { settings, rest, ports: portsOf(given.port) }
  // `host: 'a:5433,b'`. Of what has more colons, an IPv6 address is made.
  const places = hosts.map((one) => /^([^:]*):(\d+)$/.exec(one)?.slice(1) ?? [one, undefined])
  const ports = portsOf(given.port)
  return {
    settings,
    rest,
    hosts: places.map(([name]) => String(name)),
    ports: places.some(([, port]) => port !== undefined)
      ? places.map(([, port], index) => portOf(port) ?? ports?.[index] ?? ports?.[0])
      : ports,
  }
}

function portsOf(/** @type {unknown} */ port) {
  const ports = (Array.isArray(port) ? port : [port]).map(portOf)
  return ports.some((one) => one !== undefined) ? ports : undefined
}

/** @returns {string[] | undefined} */
function list(/** @type {string | undefined} */ text) {
  return text ? text.split(',').map((one) => one.trim()) : undefined
}

/**
 * The servers as lists, which postgres.js does not take apart at colons. Of those that it reads in the environment, only the
 * port is given.
 *
 * @param {string[] | undefined} hosts
 * @param {(number | undefined)[] | undefined} ports
 */
function serverOf(hosts, ports) {
  const known = ports?.filter((port) => port !== undefined)
  if (hosts === undefined) return set({ port: known?.[0] })
  const fallback = (ports?.length === 1 ? ports[0] : undefined) ?? portOf(process.env.PGPORT) ?? 5432
  const all = hosts.map((_, index) => ports?.[index] ?? fallback)
  // Of a folder, postgres.js makes the path of the socket.
  return hosts.length === 1 && hosts[0]?.startsWith('/') ? { host: hosts[0], port: all[0] } : { host: hosts, port: all }
}

/** The options of postgres.js that a URL sets. */
function optionsOf(/** @type {Text} */ text) {
  const value = (/** @type {string} */ given) => {
    if (given === 'true' || given === 'false') return given === 'true'
    return given !== '' && Number.isFinite(Number(given)) ? Number(given) : given
  }
  const found = Object.entries(text).filter(([name]) => OPTIONS.includes(name))
  return Object.fromEntries(found.map(([name, given]) => [name, value(given)]))
}

/** The parameters of a URL that are the server's: application_name, search_path and the like. */
function parametersOf(/** @type {Text} */ text) {
  const others = ['host', 'port', 'dbname', 'user', 'password', ...TLS_SETTINGS, ...OPTIONS]
  return Object.fromEntries(Object.entries(text).filter(([name]) => !others.includes(name)))
}

/** As pg reads PGSSLMODE. */
function sslOfEnvironment() {
  const { PGSSLMODE: text } = process.env
  const mode = text ? sslmodeOf(text, 'PGSSLMODE') : 'disable'
  if (mode === 'disable' || mode === 'allow') return false
  return mode === 'no-verify' ? { rejectUnauthorized: false } : true
}

/**
 * @typedef {{
 *   host: string[], port: number[], path?: string | false, connect_timeout: number | string, target_session_attrs?: string,
 * }} Place
 */

/**
 * @param {Place} place the options of postgres.js, as it has read them; the first host that answers is taken
 * @param {number} first where to begin
 * @param {number} limit in milliseconds, for each; 0 for none
 */
async function openSocket({ host: hosts, port: ports, path }, first, limit) {
  if (path) return { socket: await connected({ path }, limit), index: 0 }
  let problem
  for (let tried = 0; tried < hosts.length; tried++) {
    const index = (first + tried) % hosts.length
    const host = hosts[index]
    const port = ports[index] ?? 5432
    try {
      // postgres.js reads the name to verify the certificate by from the socket.
      return { socket: Object.assign(await connected({ host, port }, limit), { host, port }), index }
    } catch (error) {
      problem = error
    }
  }
  throw problem
}

/**
 * @param {net.NetConnectOpts} place
 * @param {number} limit in milliseconds; 0 for none
 * @returns {Promise<net.Socket>}
 */
function connected(place, limit) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(place)
    const error = () => new Error(`no connection to the server within ${Math.ceil(limit / 1000)} s`)
    const timer = limit > 0 ? setTimeout(() => socket.destroy(error()), limit) : undefined
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
