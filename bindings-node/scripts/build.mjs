// Builds the addon and puts it beside package.json, where lib/native.js finds it.
//
//   node scripts/build.mjs    profile $PROFILE: `dev` (the default) or `release`

import { execFileSync } from 'node:child_process'
import { copyFileSync, renameSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const profile = process.env.PROFILE || 'dev'
execFileSync('cargo', ['build', '--quiet', '--profile', profile, '-p', 'pgentra-node'], { cwd: root, stdio: 'inherit' })

const { platform, arch } = process
const [prefix, suffix, abi] = {
    darwin: ['lib', '.dylib', ''],
    win32: ['', '.dll', '-msvc'],
}[platform] ?? ['lib', '.so', process.report.getReport().header.glibcVersionRuntime ? '-gnu' : '-musl']
const target = resolve(root, '..', process.env.CARGO_TARGET_DIR ?? 'target')
const built = join(target, profile === 'dev' ? 'debug' : profile, `${prefix}pgentra_node${suffix}`)
const place = join(root, `pgentra.${platform}-${arch}${abi}.node`)
// Renamed into place: a process that has the old one loaded keeps it.
copyFileSync(built, `${place}.new`)
renameSync(`${place}.new`, place)
