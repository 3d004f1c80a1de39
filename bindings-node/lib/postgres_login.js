'use strict'

// Opens a connection for postgres.js and logs in. postgres.js offers no way to retry a login or to change its error, so the login
// is done here: TLS, the startup message, and the token. The rest of the session belongs to postgres.js.
//
// Source: PostgreSQL, "Frontend/Backend Protocol", "Start-up" and "SSL Session Encryption".

const net = require('node:net')
const tls = require('node:tls')
const { native } = require('./addon.js')
const { classes } = require('./errors.js')
const { explainLoginError } = require('./login.js')

/** @import { PasswordUse } from './login.js' */

/**
 * The options of postgres.js as it has parsed them.
 *
 * @typedef {{
 *   host: string[], port: number[], path?: string | false, user: string, database: string,
 *   connection?: Record<string, unknown>, connect_timeout: number | string, target_session_attrs?: string,
 *   sslnegotiation?: string | null,
 * }} Target
 * @typedef {{ target: Target, ssl: unknown, first: number, limit: number }} Session `first` is the index of the first host to
 *   try, `limit` the time limit for each host in milliseconds; 0 for none
 * @typedef {{ user: string, database: string, token: string, host?: string }} Login
 */

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
const CANCEL_REQUEST_CODE = 80877102

/** The types of the messages that a server sends during a login. */
const AUTHENTICATION = 0x52
const ERROR_RESPONSE = 0x45
const NOTICE_RESPONSE = 0x4e
const NEGOTIATE_PROTOCOL_VERSION = 0x76

/** The request for a password in an authentication message. */
const CLEARTEXT_PASSWORD = 3

/** The longest message that is accepted before the login is complete. */
const MAX_MESSAGE = 1 << 20

/** The time limit of one connection. */
class Deadline {
  #end

  /** @param {number} limit in milliseconds; 0 for none */
  constructor(limit) {
    this.limit = limit
    this.#end = limit > 0 ? performance.now() + limit : Infinity
  }

  /** The remaining time in milliseconds; `undefined` without a limit. */
  get left() {
    return this.#end === Infinity ? undefined : Math.max(this.#end - performance.now(), 1)
  }

  /**
   * Destroys a socket if the time ends before `work` does.
   *
   * @template Result
   * @param {net.Socket} socket
   * @param {Promise<Result>} work
   */
  async limiting(socket, work) {
    const { left } = this
    if (left === undefined) return work
    const error = () =>
      Object.assign(new Error(`the server did not complete the login within ${Math.ceil(this.limit / 1000)} s`), {
        code: 'CONNECT_TIMEOUT',
      })
    const timer = setTimeout(() => socket.destroy(error()), left)
    try {
      return await work
    } finally {
      clearTimeout(timer)
    }
  }
}

/** The server closed the connection before the login was complete. */
class ConnectionClosed extends Error {}

/**
 * Opens a connection that is logged in. If the server rejects the token, logs in once more with a newer token.
 *
 * @param {Session} session
 * @param {PasswordUse} use
 * @param {string} token
 * @returns {Promise<{ socket: net.Socket, index: number }>} `index` of the host
 */
async function openSession(session, use, token) {
  const { target } = session
  for (let attempt = 0; ; attempt++) {
    const { socket, index, host, deadline } = await openSocket(session)
    const login = { user: target.user, database: target.database, token, host }
    let messages
    try {
      messages = await deadline.limiting(socket, logIn(socket, target, login))
    } catch (error) {
      socket.destroy()
      // postgres.js opens another connection if one is closed.
      if (error instanceof ConnectionClosed) return { socket: closedSocket(), index }
      throw error
    }
    const refusal = messages.find(({ type }) => type === ERROR_RESPONSE)
    if (refusal !== undefined) {
      const { code, message } = readError(refusal.bytes)
      const isRetriable = attempt === 0 && native.isRetriableLoginError(code, message)
      if (isRetriable && (await use.client.invalidate(token, { limit: deadline.left }).catch(() => false))) {
        socket.destroy()
        token = await use.client.token({ limit: deadline.left })
        continue
      }
      refusal.bytes = explained(refusal.bytes, login, use)
    }
    handOver(socket, Buffer.concat(messages.map(({ bytes }) => bytes)), () => openSocket(session))
    return { socket, index }
  }
}

/**
 * Connects to the first host that accepts a connection, with TLS if it is configured.
 *
 * @param {Session} session
 */
async function openSocket(session) {
  const { target, first, limit } = session
  const { host: hosts, port: ports, path } = target
  if (path) {
    const deadline = new Deadline(limit)
    return { socket: await openOne(session, { path }, deadline), index: 0, host: undefined, deadline }
  }
  let failure
  for (let tried = 0; tried < hosts.length; tried++) {
    const index = (first + tried) % hosts.length
    const host = /** @type {string} */ (hosts[index])
    const port = ports[index] ?? 5432
    const deadline = new Deadline(limit)
    try {
      // postgres.js reads the names from the socket.
      const socket = Object.assign(await openOne(session, { host, port }, deadline), { host, port })
      return { socket, index, host, deadline }
    } catch (error) {
      failure = error
    }
  }
  throw failure
}

/**
 * @param {Session} session
 * @param {{ host: string, port: number } | { path: string }} address
 * @param {Deadline} deadline
 */
async function openOne({ target, ssl }, address, deadline) {
  const socket = net.connect(address)
  const work = async () => {
    await eventOf(socket, 'connect')
    if (!ssl) return socket
    const host = 'host' in address ? address.host : undefined
    const isDirect = target.sslnegotiation === 'direct'
    if (!isDirect) {
      socket.write(SSL_REQUEST)
      const response = /** @type {Buffer} */ (await eventOf(socket, 'data'))
      // More bytes would be plain text that an attacker has inserted before the handshake.
      const hasTls = response.length === 1 && response[0] === 0x53
      if (!hasTls && ssl === 'prefer' && response[0] === 0x4e) return socket
      if (!hasTls) throw new Error('the server does not support TLS')
    }
    const secured = tls.connect({
      socket,
      host,
      servername: host === undefined || net.isIP(host) ? undefined : host,
      ...(isDirect && { ALPNProtocols: ['postgresql'] }),
      ...tlsOptionsOf(ssl),
    })
    await eventOf(secured, 'secureConnect')
    return secured
  }
  try {
    return await deadline.limiting(socket, work())
  } catch (error) {
    socket.destroy()
    throw error
  }
}

/** Returns the options of tls.connect for an `ssl` of postgres.js. */
function tlsOptionsOf(/** @type {unknown} */ ssl) {
  if (ssl === 'require' || ssl === 'allow' || ssl === 'prefer') return { rejectUnauthorized: false }
  return typeof ssl === 'object' ? ssl : {}
}

/**
 * Waits for an event of a socket. Rejects with the socket's error, or if it is closed.
 *
 * @param {net.Socket} socket
 * @param {string} name
 */
function eventOf(socket, name) {
  return new Promise((resolve, reject) => {
    const listeners = {
      [name]: resolve,
      error: reject,
      close: () => reject(new Error('the server closed the connection')),
    }
    const settle = (/** @type {() => void} */ work) => {
      for (const [event, listener] of Object.entries(added)) socket.removeListener(event, listener)
      if (name === 'data') socket.pause()
      work()
    }
    /** @type {Record<string, (value?: unknown) => void>} */
    const added = Object.fromEntries(
      Object.entries(listeners).map(([event, listener]) => [event, (value) => settle(() => listener(value))]),
    )
    for (const [event, listener] of Object.entries(added)) socket.on(event, listener)
    if (name === 'data') socket.resume()
  })
}

/**
 * Sends the startup message and the token. Returns the server's messages from the result of the login on: success, an error, or
 * the request for another authentication, which postgres.js continues with.
 *
 * @param {net.Socket} socket
 * @param {Target} target
 * @param {Login} login
 * @returns {Promise<{ type: number, bytes: Buffer }[]>}
 */
function logIn(socket, target, login) {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0)
    /** @type {{ type: number, bytes: Buffer }[]} */
    const messages = []
    const settle = (/** @type {() => void} */ work) => {
      socket.pause()
      socket.removeListener('data', onData)
      socket.removeListener('error', onError)
      socket.removeListener('close', onClose)
      work()
    }
    const onError = (/** @type {NodeJS.ErrnoException} */ error) => {
      const isReset = error.code === 'ECONNRESET' || error.code === 'EPIPE'
      settle(() => reject(isReset ? new ConnectionClosed() : error))
    }
    const onClose = () => settle(() => reject(new ConnectionClosed()))
    const onData = (/** @type {Buffer} */ data) => {
      received = Buffer.concat([received, data])
      while (received.length >= 5) {
        const type = /** @type {number} */ (received[0])
        const length = received.readUInt32BE(1) + 1
        const isExpected = [AUTHENTICATION, ERROR_RESPONSE, NOTICE_RESPONSE, NEGOTIATE_PROTOCOL_VERSION].includes(type)
        if (!isExpected || length < 9 || length > MAX_MESSAGE) {
          return settle(() => reject(new Error('the server sent an unexpected message during the login')))
        }
        if (received.length < length) return
        const bytes = received.subarray(0, length)
        received = received.subarray(length)
        if (type === AUTHENTICATION && bytes.readUInt32BE(5) === CLEARTEXT_PASSWORD) {
          socket.write(messageOf('p', `${login.token}\0`))
          continue
        }
        messages.push({ type, bytes })
        if (type === NOTICE_RESPONSE || type === NEGOTIATE_PROTOCOL_VERSION) continue
        if (received.length > 0) messages.push({ type: -1, bytes: received })
        return settle(() => resolve(messages))
      }
    }
    socket.on('data', onData).on('error', onError).on('close', onClose)
    socket.resume()
    socket.write(startupMessage(target))
  })
}

/** Returns the startup message as postgres.js composes it. */
function startupMessage(/** @type {Target} */ { user, database, connection }) {
  const parameters = Object.entries({ user, database, client_encoding: 'UTF8', ...connection })
  const given = parameters.filter(([, value]) => value)
  const body = Buffer.from(given.map(([name, value]) => `${name}\0${value}\0`).join('') + '\0')
  const head = Buffer.alloc(8)
  head.writeUInt32BE(body.length + 8, 0)
  head.writeUInt16BE(3, 4)
  return Buffer.concat([head, body])
}

/**
 * @param {string} type
 * @param {string} text
 */
function messageOf(type, text) {
  const body = Buffer.from(text)
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeUInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

/** Returns the fields of an error response: their code and text. */
function fieldsOf(/** @type {Buffer} */ bytes) {
  const fields = bytes.subarray(5).toString().split('\0')
  return fields.filter((field) => field !== '').map((field) => ({ code: field.slice(0, 1), text: field.slice(1) }))
}

function readError(/** @type {Buffer} */ bytes) {
  const fields = new Map(fieldsOf(bytes).map(({ code, text }) => [code, text]))
  return { code: fields.get('C'), message: fields.get('M') ?? '' }
}

/**
 * Returns an error response with the explanation of the login error in its message.
 *
 * @param {Buffer} bytes
 * @param {Login} login
 * @param {PasswordUse} use
 */
function explained(bytes, { user, token, host }, use) {
  const { code: sqlstate, message } = readError(bytes)
  // The application can have set another user.
  const userSource = user === use.user ? use.userSource : undefined
  const lines = explainLoginError({
    sqlstate,
    message,
    user,
    userSource,
    host,
    token,
    usesConnector: use.usesConnector,
  })
  if (!lines) return bytes
  const fields = fieldsOf(bytes).map(({ code, text }) => `${code}${code === 'M' ? `${text}\n${lines}` : text}\0`)
  return messageOf('E', `${fields.join('')}\0`)
}

/**
 * Passes a socket on to postgres.js: its startup message is dropped, because it has been sent already, and it receives the
 * messages that the server has sent.
 *
 * @param {net.Socket} socket
 * @param {Buffer} messages
 * @param {() => Promise<{ socket: net.Socket }>} open opens another connection to the same server
 */
function handOver(socket, messages, open) {
  socket.unshift(messages)
  const own = /** @type {{ write?: unknown }} */ (socket)
  own.write = (/** @type {Buffer} */ chunk, /** @type {unknown[]} */ ...rest) => {
    delete own.write
    if (chunk.length === 16 && chunk.readUInt32BE(4) === CANCEL_REQUEST_CODE) {
      // A request to cancel a query takes the place of the startup message.
      open().then(
        ({ socket: other }) =>
          other
            .end(chunk)
            .on('close', () => socket.destroy())
            .on('error', () => {})
            .resume(),
        (error) => socket.destroy(error),
      )
      return true
    }
    socket.resume()
    const callback = rest.at(-1)
    if (typeof callback === 'function') process.nextTick(callback)
    return true
  }
}

/** Returns a socket that is closed by the first write: postgres.js does not expect it earlier. */
function closedSocket(close = (/** @type {net.Socket} */ socket) => void socket.destroy()) {
  // postgres.js 3.1 opens a new socket only after one that was encrypted.
  const socket = Object.assign(new net.Socket(), { encrypted: true })
  socket.write = () => {
    process.nextTick(close, socket)
    return true
  }
  return socket
}

/**
 * Returns a socket that fails at the first write. postgres.js rejects the query with the error, and opens the connection again for
 * a later query.
 *
 * @param {Target} target
 * @param {Error} error
 */
function failedSocket(target, error) {
  // An error of a token needs no back-off of postgres.js, because the engine has its own.
  const hasBackOff = !(error instanceof classes.PgEntraError)
  const socket = closedSocket((socket) => {
    if (!hasBackOff) socket.emit('error', error)
    socket.destroy(hasBackOff ? error : undefined)
  })
  // postgres.js ignores errors if there is a second host, and connects again without end. All hosts have been tried here, so it
  // gets one while it handles the error.
  const { host } = target
  socket.once('error', () => (target.host = host.slice(0, 1)))
  socket.once('close', () => (target.host = host))
  return socket
}

module.exports = { failedSocket, openSession, openSocket }
