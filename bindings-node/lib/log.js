'use strict'

const { native, courier, nextId, setOnEvent } = require('./native.js')

/** @import * as published from './index.js' */
/** @typedef {NonNullable<Parameters<typeof published.setLogger>[0]>} Listener */

/** @type {Listener | undefined} */
let logger
/** @type {number | undefined} */
let subscription

/**
 * Passes events on to `listener`, in place of the one before; `null` ends it.
 *
 * @type {typeof published.setLogger}
 */
function setLogger(listener) {
  if (listener !== null && listener !== undefined && typeof listener !== 'function') {
    throw new TypeError('setLogger: expected a function or null')
  }
  logger = listener ?? undefined
  if (logger && subscription === undefined) {
    subscription = nextId()
    native.subscribe(courier, subscription)
  } else if (!logger && subscription !== undefined) {
    native.unsubscribe(subscription)
    subscription = undefined
  }
}

/**
 * An event of this side, or of the engine. What a logger throws is its own affair.
 *
 * @type {Listener}
 */
function log(level, message) {
  try {
    logger?.(level, message)
  } catch {
    // Who logs must not be ended by it.
  }
}

setOnEvent(log)

/** A warning that is seen without a logger too: by Node's own, which `process.on('warning')` and `--no-warnings` know. */
function warn(/** @type {string} */ message) {
  if (logger) log('warn', message)
  else process.emitWarning(message, 'PgEntraWarning')
}

const wanted = (process.env.DEBUG ?? '').split(/[\s,]+/)
if (wanted.some((name) => name === '*' || name === 'pgentra' || name === 'pgentra*')) {
  setLogger((level, message) => process.stderr.write(`  pgentra ${level} ${message}\n`))
}

module.exports = { setLogger, log, warn }
