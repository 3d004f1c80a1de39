'use strict'

const { native } = require('./addon.js')
const { channel, nextId, setOnEvent } = require('./waits.js')

/** @import * as published from './index.js' */
/** @typedef {NonNullable<Parameters<typeof published.setLogger>[0]>} Listener */

/** @type {Listener | undefined} */
let logger
/** @type {number | undefined} */
let subscription

/**
 * Passes log events to `listener`, which replaces the previous one; `null` removes it.
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
    native.subscribe(channel, subscription)
  } else if (!logger && subscription !== undefined) {
    native.unsubscribe(subscription)
    subscription = undefined
  }
}

/**
 * Passes one log event to the listener. Its errors are ignored.
 *
 * @type {Listener}
 */
function log(level, message) {
  try {
    logger?.(level, message)
  } catch {
    // An error in the listener must not end the work that is logged.
  }
}

setOnEvent(log)

/** Logs a warning. Without a listener it is a warning of the process, which `process.on('warning')` and `--no-warnings` control. */
function warn(/** @type {string} */ message) {
  if (logger) log('warn', message)
  else process.emitWarning(message, 'PgEntraWarning')
}

const debugNames = (process.env.DEBUG ?? '').split(/[\s,]+/)
if (debugNames.some((name) => name === '*' || name === 'pgentra' || name === 'pgentra*')) {
  setLogger((level, message) => process.stderr.write(`  pgentra ${level} ${message}\n`))
}

module.exports = { setLogger, log, warn }
