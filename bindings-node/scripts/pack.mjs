// Packs what is published: the main package and one package a platform with the addon in it.
//
//   node scripts/pack.mjs FOLDER ADDON [TARGET]    two tarballs in FOLDER; TARGET is this machine's if left out
//
// The main package names every platform's as an optional dependency, of which npm installs the one that fits.

import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const TARGETS = {
    'linux-x64-gnu': { os: ['linux'], cpu: ['x64'], libc: ['glibc'] },
    'linux-x64-musl': { os: ['linux'], cpu: ['x64'], libc: ['musl'] },
    'linux-arm64-gnu': { os: ['linux'], cpu: ['arm64'], libc: ['glibc'] },
    'linux-arm64-musl': { os: ['linux'], cpu: ['arm64'], libc: ['musl'] },
    'darwin-x64': { os: ['darwin'], cpu: ['x64'] },
    'darwin-arm64': { os: ['darwin'], cpu: ['arm64'] },
    'win32-x64-msvc': { os: ['win32'], cpu: ['x64'] },
}

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const [folder, addon, target = thisMachine()] = process.argv.slice(2)
if (folder === undefined || addon === undefined || !(target in TARGETS)) {
    console.error(`usage: node scripts/pack.mjs FOLDER ADDON [${Object.keys(TARGETS).join(' | ')}]`)
    process.exit(2)
}

const { scripts: _, devDependencies: __, ...main } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const { version, description, license, author, engines } = main
const names = Object.keys(TARGETS).map((name) => [`pgentra-${name}`, version])
const file = `pgentra.${target}.node`

mkdirSync(folder, { recursive: true })
const work = mkdtempSync(join(tmpdir(), 'pgentra-pack-'))
try {
    pack(join(work, 'main'), { ...main, optionalDependencies: Object.fromEntries(names) }, (place) => {
        cpSync(join(root, 'lib'), join(place, 'lib'), { recursive: true })
        cpSync(join(root, 'README.md'), join(place, 'README.md'))
    })
    const platform = { name: `pgentra-${target}`, version, description: `${description} (${target})`, license, author }
    pack(join(work, 'platform'), { ...platform, main: file, files: [file], engines, ...TARGETS[target] }, (place) => {
        cpSync(addon, join(place, file))
    })
} finally {
    rmSync(work, { recursive: true, force: true })
}

function pack(place, manifest, fill) {
    mkdirSync(place)
    writeFileSync(join(place, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
    cpSync(join(root, '..', 'LICENSE'), join(place, 'LICENSE'))
    fill(place)
    execFileSync('npm', ['pack', '--silent', '--pack-destination', resolve(folder)], {
        cwd: place,
        stdio: ['ignore', 'inherit', 'inherit'],
        shell: process.platform === 'win32',
    })
}

function thisMachine() {
    const { platform, arch } = process
    const musl = platform === 'linux' && process.report.getReport().header.glibcVersionRuntime === undefined
    const abi = { linux: musl ? '-musl' : '-gnu', win32: '-msvc' }[platform] ?? ''
    return `${platform}-${arch}${abi}`
}
