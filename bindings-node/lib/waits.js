'use strict'

// The channel from the engine to this thread: results of waits, token requests to custom credentials, log events.

const { setInterval, clearInterval } = require('node:timers')
const { isMainThread } = require('node:worker_threads')
const { native } = require('./addon.js')

/** @import * as addon from '../addon' */
/** @import { AbortSignalLike, PgEntraError } from './index.js' */
/** @import { Listener } from './log.js' */

/** @typedef {AbortSignalLike & Partial<Pick<AbortSignal, 'reason' | 'throwIfAborted'>>} Signal */
/** @typedef {Parameters<ConstructorParameters<typeof addon.JsChannel>[0]>[3]} Content the content of a message */

const { MessageKind } = native

/** @type {Map<number, (error: string | null, content: Content) => void>} by id: what to do when a wait ends */
const waits = new Map()
/** @type {Map<number, (request: addon.CustomTokenRequest) => void>} by id: how to request a token from a custom credential */
const customCredentials = new Map()
/** @type {Map<number, unknown>} by id: what a custom credential threw, as long as the engine has an error with this cause */
const causes = new Map()
/** @type {Listener} */
let onEvent = () => {}

let lastId = 0
const nextId = () => ++lastId

/** @type {Record<number, 'error' | 'warn' | 'info' | 'debug'>} by the number of the level */
const LEVELS = { 1: 'error', 2: 'warn', 3: 'info', 4: 'debug' }

// The kind of a message determines the type of its content.
const channel = new native.JsChannel((kind, id, error, content) => {
  switch (kind) {
    case MessageKind.WaitEnded:
      waits.get(id)?.(error, content)
      break
    case MessageKind.TokenRequested: {
      const request = /** @type {addon.CustomTokenRequest} */ (content)
      const requestToken = customCredentials.get(id)
      if (requestToken) requestToken(request)
      else request.abandon()
      break
    }
    case MessageKind.CauseDropped:
      causes.delete(id)
      break
    case MessageKind.LogEvent:
      onEvent(LEVELS[id] ?? 'debug', /** @type {string} */ (content))
  }
})

// Keeps the process running while a wait is pending; the channel does not.
let pending = 0
/** @type {NodeJS.Timeout | undefined} */
let keepAlive
function hold() {
  if (pending++ === 0) keepAlive = setInterval(() => {}, 2 ** 30)
}
function release() {
  if (--pending === 0) clearInterval(keepAlive)
}

/**
 * Starts work of the engine and waits for its result. An abort ends this wait only.
 *
 * @template {Content} Result what this work is known to send
 * @param {(channel: addon.JsChannel, id: number) => void} start
 * @param {(document: string) => PgEntraError} read creates the error from its document
 * @param {Signal} [signal]
 * @returns {Promise<Result>}
 */
function wait(start, read, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortReason(signal, read))
    const id = nextId()
    const onAbort = () => {
      end()
      reject(abortReason(signal, read))
    }
    const end = () => {
      waits.delete(id)
      signal?.removeEventListener('abort', onAbort)
      release()
    }
    waits.set(id, (error, content) => {
      end()
      if (error === null) resolve(/** @type {Result} */ (content))
      else reject(read(error))
    })
    hold()
    signal?.addEventListener('abort', onAbort)
    try {
      start(channel, id)
    } catch (error) {
      end()
      reject(error)
    }
  })
}

/**
 * @param {Signal | undefined} signal
 * @param {(document: string) => PgEntraError} read
 */
function abortReason(signal, read) {
  return signal?.reason ?? read(native.errorDocument('cancelled', 'the wait was aborted'))
}

if (isMainThread && native.claimExitHandler()) process.on('exit', () => native.shutdown())

module.exports = {
  channel,
  customCredentials,
  causes,
  nextId,
  wait,
  /** @param {Listener} listener */
  setOnEvent(listener) {
    onEvent = listener
  },
}
