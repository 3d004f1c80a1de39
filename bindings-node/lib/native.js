'use strict'

// The addon, and the way back from the engine: waits, questions to the program's own credentials, events.

const { setInterval, clearInterval } = require('node:timers')
const { isMainThread } = require('node:worker_threads')

/** @import * as addon from '../addon' */
/** @import { AbortSignalLike, PgEntraError } from './index.js' */
/** @import { Listener } from './log.js' */

/** @typedef {AbortSignalLike & Partial<Pick<AbortSignal, 'reason' | 'throwIfAborted'>>} Signal */
/** @typedef {Parameters<ConstructorParameters<typeof addon.Courier>[0]>[3]} Content what a message brings */

/** @type {typeof addon} */
const native = load()
const { Kind } = native

/** The addon of this platform: beside this file in a checkout, else in a package of its own. */
function load() {
  const { platform, arch } = process
  /** @type {Record<string, string[]>} */
  const systems = { linux: ['linux-gnu', 'linux-musl'], darwin: ['darwin'], win32: ['win32-msvc'] }
  const names = (systems[platform] ?? []).map((system) => {
    const [os, abi] = system.split('-')
    return [os, arch, abi].filter(Boolean).join('-')
  })
  const failures = []
  for (const name of names) {
    for (const place of [`../pgentra.${name}.node`, `@pgentra/${name}`]) {
      try {
        return require(place)
      } catch (error) {
        const failure = /** @type {NodeJS.ErrnoException} */ (error)
        if (failure.code !== 'MODULE_NOT_FOUND') failures.push(failure)
      }
    }
  }
  const told = failures.map((error) => error.message.split('\n')[0]).join('; ')
  const packages = names.map((name) => `@pgentra/${name}`).join(' or ')
  throw new Error(
    `pgentra: the native part for ${platform} ${arch} could not be loaded${told && `: ${told}`}. ` +
      `It is the package ${packages}, an optional dependency: install on the platform where the program runs, without ` +
      '--omit=optional. With a bundler, leave pgentra out of the bundle (mark it as external), and put node_modules beside it.',
    failures[0] && { cause: failures[0] },
  )
}

/** @type {Map<number, (failure: string | null, content: Content) => void>} by id: what to do when a wait is over */
const waits = new Map()
/** @type {Map<number, (request: addon.Request) => void>} by id: how a credential of the program is asked */
const hosts = new Map()
/** @type {Map<number, unknown>} by id: what such a credential threw, as long as the engine has an error that came of it */
const causes = new Map()
/** @type {Listener} */
let onEvent = () => {}

let lastId = 0
const nextId = () => ++lastId

/** By number, as the engine sends them. */
const LEVELS = /** @type {const} */ (['debug', 'info', 'warn', 'error'])

// A message's kind tells what its content is.
const courier = new native.Courier((kind, id, failure, content) => {
  switch (kind) {
    case Kind.Settled:
      waits.get(id)?.(failure, content)
      break
    case Kind.Asked: {
      const request = /** @type {addon.Request} */ (content)
      const ask = hosts.get(id)
      if (ask) ask(request)
      else request.lose()
      break
    }
    case Kind.Forgotten:
      causes.delete(id)
      break
    case Kind.Event:
      onEvent(LEVELS[id] ?? 'debug', /** @type {string} */ (content))
  }
})

// Holds the process open while somebody awaits; the courier does not.
let awaited = 0
/** @type {NodeJS.Timeout | undefined} */
let holder
function hold() {
  if (awaited++ === 0) holder = setInterval(() => {}, 2 ** 30)
}
function release() {
  if (--awaited === 0) clearInterval(holder)
}

/**
 * Starts work of the engine and waits for it. An abort ends this wait only.
 *
 * @template {Content} Result what this work is known to send
 * @param {(courier: addon.Courier, id: number) => void} start hands the id over
 * @param {(failure: string) => PgEntraError} read makes the error
 * @param {Signal} [abortSignal]
 * @returns {Promise<Result>}
 */
function wait(start, read, abortSignal) {
  return new Promise((resolve, reject) => {
    if (abortSignal?.aborted) return reject(abortReason(abortSignal, read))
    const id = nextId()
    const onAbort = () => {
      end()
      reject(abortReason(abortSignal, read))
    }
    const end = () => {
      waits.delete(id)
      abortSignal?.removeEventListener('abort', onAbort)
      release()
    }
    waits.set(id, (failure, content) => {
      end()
      if (failure === null) resolve(/** @type {Result} */ (content))
      else reject(read(failure))
    })
    hold()
    abortSignal?.addEventListener('abort', onAbort)
    try {
      start(courier, id)
    } catch (error) {
      end()
      reject(error)
    }
  })
}

/**
 * @param {Signal | undefined} abortSignal
 * @param {(failure: string) => PgEntraError} read
 */
function abortReason(abortSignal, read) {
  return abortSignal?.reason ?? read(native.errorDocument('cancelled', 'the wait was aborted'))
}

if (isMainThread && native.claimExit()) process.on('exit', () => native.shutdown())

module.exports = {
  native,
  courier,
  hosts,
  causes,
  nextId,
  wait,
  /** @param {Listener} listener */
  setOnEvent(listener) {
    onEvent = listener
  },
}
