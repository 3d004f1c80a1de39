// Packs the packages to publish: the main package, and one for each platform whose addon exists.
//
//   node scripts/pack.mjs FOLDER [ADDONS]    tarballs into FOLDER; ADDONS (default: the package) holds `*.node` files
//
// The main package has only these platforms as optional dependencies: npm requests each of them from the registry, where a name
// that is not published could be registered by others. All are in the scope `@pgentra`, which is reserved.
//
// `napi create-npm-dirs` creates the packages of the platforms. `napi pre-publish`, which would add them to the main package,
// requires the addons of every platform on one machine, and publishes; so this program adds them.

import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const [folder, addons = root] = process.argv.slice(2)
if (folder === undefined) {
    console.error('usage: node scripts/pack.mjs FOLDER [ADDONS]')
    process.exit(2)
}
const napi = createRequire(import.meta.url)
    .resolve('@napi-rs/cli/package.json')
    .replace(/package\.json$/, 'dist/cli.js')

mkdirSync(folder, { recursive: true })
const work = mkdtempSync(join(tmpdir(), 'pgentra-pack-'))
try {
    for (const name of ['package.json', 'lib', 'README.md'])
        cpSync(join(root, name), join(work, name), { recursive: true })
    cpSync(join(root, '..', 'LICENSE'), join(work, 'LICENSE'))
    execFileSync(process.execPath, [napi, 'create-npm-dirs', '--cwd', work], { stdio: 'pipe' })
    const addonOf = (platform) => join(addons, `pgentra.${platform}.node`)
    const platforms = readdirSync(join(work, 'npm')).filter((platform) => existsSync(addonOf(platform)))
    if (platforms.length === 0) throw new Error(`no addon is in ${addons}: run \`npm run build\``)
    const { scripts: _, devDependencies: __, napi: ___, ...manifest } = read(join(work, 'package.json'))
    const { version } = manifest
    const optionalDependencies = Object.fromEntries(platforms.map((name) => [`@pgentra/${name}`, version]))
    write(join(work, 'package.json'), { ...manifest, optionalDependencies })
    pack(work)
    for (const platform of platforms) {
        const place = join(work, 'npm', platform)
        cpSync(addonOf(platform), join(place, `pgentra.${platform}.node`))
        cpSync(join(work, 'LICENSE'), join(place, 'LICENSE'))
        const file = join(place, 'package.json')
        // A package in a scope is private by default.
        write(file, { ...read(file), name: `@pgentra/${platform}`, publishConfig: { access: 'public' } })
        pack(place)
    }
} finally {
    rmSync(work, { recursive: true, force: true })
}

function pack(place) {
    execFileSync('npm', ['pack', '--silent', '--pack-destination', resolve(folder)], {
        cwd: place,
        stdio: ['ignore', 'inherit', 'inherit'],
        shell: process.platform === 'win32',
    })
}

function read(file) {
    return JSON.parse(readFileSync(file, 'utf8'))
}

function write(file, document) {
    writeFileSync(file, `${JSON.stringify(document, null, 2)}\n`)
}
