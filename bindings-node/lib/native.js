'use strict'

// The addon, and the way back from the engine: waits, questions to the program's own credentials, events.

const { setInterval, clearInterval } = require('node:timers')
const { isMainThread } = require('node:worker_threads')

/** @type {typeof import('../addon')} */
const native = load()
const { Kind } = native

/** The addon of this platform: beside this file in a checkout, else in a package of its own. */
function load() {
  const { platform, arch } = process
  const systems = { linux: ['linux-gnu', 'linux-musl'], darwin: ['darwin'], win32: ['win32-msvc'] }
  const failures = []
  for (const system of systems[platform] ?? []) {
    const [os, abi] = system.split('-')
    const name = [os, arch, abi].filter(Boolean).join('-')
    for (const place of [`../pgentra.${name}.node`, `pgentra-${name}`]) {
      try {
        return require(place)
      } catch (error) {
        const failure = /** @type {NodeJS.ErrnoException} */ (error)
        if (failure.code !== 'MODULE_NOT_FOUND') failures.push(failure)
      }
    }
  }
  const told = failures.map((error) => error.message.split('\n')[0]).join('; ')
  throw new Error(
    `pgentra: no native part for ${platform} ${arch} could be loaded${told && `: ${told}`}. ` +
      'It is an optional dependency: install without --omit=optional, on the platform where the program runs.',
    { cause: failures[0] },
  )
}

/** By id: what to do when a wait is over. */
const waits = new Map()
/** By id: how a credential of the program is asked. */
const hosts = new Map()
/** By id: what such a credential threw, as long as the engine has an error that came of it. */
const causes = new Map()
/** Called with each event's level and text. */
/** @type {(level: string, message: any) => void} */
let onEvent = () => {}

let lastId = 0
const nextId = () => ++lastId

const courier = new native.Courier((kind, id, failure, content) => {
  switch (kind) {
    case Kind.Settled:
      waits.get(id)?.(failure, content)
      break
    case Kind.Asked: {
      const request = /** @type {import('../addon').Request} */ (content)
      const ask = hosts.get(id)
      if (ask) ask(request)
      else request.lose()
      break
    }
    case Kind.Forgotten:
      causes.delete(id)
      break
    case Kind.Event:
      onEvent(['debug', 'info', 'warn', 'error'][id] ?? 'debug', content)
  }
})

// Holds the process open while somebody awaits; the courier does not.
let awaited = 0
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
 * `start(courier, id)` hands the id over; `read(failure)` makes the error.
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
      if (failure === null) resolve(content)
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

function abortReason(abortSignal, read) {
  return abortSignal.reason ?? read(native.errorDocument('cancelled', 'the wait was aborted'))
}

if (isMainThread && native.claimExit()) process.on('exit', () => native.shutdown())

module.exports = {
  native,
  courier,
  hosts,
  causes,
  nextId,
  wait,
  setOnEvent(listener) {
    onEvent = listener
  },
}
