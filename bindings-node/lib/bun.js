// @ts-nocheck The packages of the addons are not installed in a checkout.
'use strict'

// The entry point for `bun build --compile`. Bun embeds an addon only if its path is a literal in a call of `require`, leaves out
// the other platforms by these conditions, and accepts a missing package only in a `try` block.

function load() {
  if (process.platform === 'linux' && process.arch === 'x64') {
    try {
      return require('@pgentra/linux-x64-gnu/pgentra.linux-x64-gnu.node')
    } catch {
      // Not installed, or for another C library.
    }
  }
  if (process.platform === 'linux' && process.arch === 'x64') {
    try {
      return require('@pgentra/linux-x64-musl/pgentra.linux-x64-musl.node')
    } catch {
      // Not installed, or for another C library.
    }
  }
  if (process.platform === 'linux' && process.arch === 'arm64') {
    try {
      return require('@pgentra/linux-arm64-gnu/pgentra.linux-arm64-gnu.node')
    } catch {
      // Not installed, or for another C library.
    }
  }
  if (process.platform === 'linux' && process.arch === 'arm64') {
    try {
      return require('@pgentra/linux-arm64-musl/pgentra.linux-arm64-musl.node')
    } catch {
      // Not installed, or for another C library.
    }
  }
  if (process.platform === 'darwin' && process.arch === 'x64') {
    try {
      return require('@pgentra/darwin-x64/pgentra.darwin-x64.node')
    } catch {
      // Not installed, or for another C library.
    }
  }
  if (process.platform === 'darwin' && process.arch === 'arm64') {
    try {
      return require('@pgentra/darwin-arm64/pgentra.darwin-arm64.node')
    } catch {
      // Not installed, or for another C library.
    }
  }
  if (process.platform === 'win32' && process.arch === 'x64') {
    try {
      return require('@pgentra/win32-x64-msvc/pgentra.win32-x64-msvc.node')
    } catch {
      // Not installed, or for another C library.
    }
  }
  if (process.platform === 'win32' && process.arch === 'arm64') {
    try {
      return require('@pgentra/win32-arm64-msvc/pgentra.win32-arm64-msvc.node')
    } catch {
      // Not installed, or for another C library.
    }
  }
  return undefined
}

// If no addon was found, lib/addon.js loads it, or explains the failure.
const addon = load()
if (addon !== undefined) globalThis[Symbol.for('pgentra.addon')] ??= addon

module.exports = { ...require('./index.js'), ...require('./identity.js') }
