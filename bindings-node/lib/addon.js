'use strict'

// Loads the addon of this platform: from this package in a checkout, otherwise from a package of its own.

const { createRequire } = require('node:module')
const path = require('node:path')

/** @import * as addon from '../addon' */

/**
 * The path of each platform's addon as npm, pnpm and Yarn install it: next to this package. Tools that collect the files of a
 * program (@vercel/nft, Next.js, ncc) read these expressions in the source, so each one is a literal.
 *
 * @type {Record<string, string>}
 */
const INSTALLED = {
  'linux-x64-gnu': path.join(__dirname, '../../@pgentra/linux-x64-gnu/pgentra.linux-x64-gnu.node'),
  'linux-x64-musl': path.join(__dirname, '../../@pgentra/linux-x64-musl/pgentra.linux-x64-musl.node'),
  'linux-arm64-gnu': path.join(__dirname, '../../@pgentra/linux-arm64-gnu/pgentra.linux-arm64-gnu.node'),
  'linux-arm64-musl': path.join(__dirname, '../../@pgentra/linux-arm64-musl/pgentra.linux-arm64-musl.node'),
  'darwin-x64': path.join(__dirname, '../../@pgentra/darwin-x64/pgentra.darwin-x64.node'),
  'darwin-arm64': path.join(__dirname, '../../@pgentra/darwin-arm64/pgentra.darwin-arm64.node'),
  'win32-x64-msvc': path.join(__dirname, '../../@pgentra/win32-x64-msvc/pgentra.win32-x64-msvc.node'),
  'win32-arm64-msvc': path.join(__dirname, '../../@pgentra/win32-arm64-msvc/pgentra.win32-arm64-msvc.node'),
}

/** The names of this platform's addons: on Linux, the C library decides which one loads. */
function platformNames() {
  const { platform, arch } = process
  const names = Object.keys(INSTALLED)
  return names.filter((name) => name === `${platform}-${arch}` || name.startsWith(`${platform}-${arch}-`))
}

/** @returns {typeof addon} */
function load() {
  // Set by `pgentra/bun`, in which Bun finds the addon when it compiles a program.
  const { [Symbol.for('pgentra.addon')]: embedded } = /** @type {Record<symbol, any>} */ (globalThis)
  if (embedded !== undefined) return embedded
  // Not `require`, which bundlers replace.
  const load = createRequire(__filename)
  const names = platformNames()
  const failures = []
  for (const name of names) {
    // The last one is for Yarn's Plug'n'Play, and for bundles next to a node_modules folder.
    for (const file of [path.join(__dirname, '..', `pgentra.${name}.node`), INSTALLED[name], `@pgentra/${name}`]) {
      try {
        return load(/** @type {string} */ (file))
      } catch (error) {
        const failure = /** @type {NodeJS.ErrnoException} */ (error)
        if (failure.code !== 'MODULE_NOT_FOUND') failures.push(failure)
      }
    }
  }
  throw loadError(names, failures)
}

/**
 * @param {string[]} names
 * @param {NodeJS.ErrnoException[]} failures
 */
function loadError(names, failures) {
  const { platform, arch } = process
  if (names.length === 0) {
    const supported = Object.keys(INSTALLED).join(', ')
    return new Error(`pgentra has no addon for the platform ${platform} ${arch}. It supports ${supported}.`)
  }
  const reasons = failures.map((error) => error.message.split('\n')[0]).join('; ')
  const packages = names.map((name) => `@pgentra/${name}`).join(' or ')
  return new Error(
    `the addon of pgentra for ${platform} ${arch} could not be loaded${reasons && `: ${reasons}`}. ` +
      `It is in the package ${packages}, an optional dependency of pgentra. Install on the platform on which the program runs, ` +
      'without --omit=optional. With a bundler, mark pgentra as external and deploy node_modules with the bundle. With ' +
      '`bun build --compile`, import pgentra/bun.',
    failures[0] && { cause: failures[0] },
  )
}

module.exports = { native: load() }
