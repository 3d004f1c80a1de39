// Installs the tarballs into an empty project: ESM, CommonJS and TypeScript.

import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { PACKAGE, run } from './emulator.mjs'

const require = createRequire(import.meta.url)
let project
before(async () => {
    project = mkdtempSync(join(tmpdir(), 'pgentra-install-'))
    const packed = await run(process.execPath, [join(PACKAGE, 'scripts/pack.mjs'), project])
    assert.equal(packed.status, 0, packed.output)
    const tarballs = readdirSync(project).filter((name) => name.endsWith('.tgz'))
    assert.equal(tarballs.length, 2)
    writeFileSync(join(project, 'package.json'), '{"private": true}')
    // The packages of other platforms are not available and not needed.
    const installed = await run(
        'npm',
        ['install', '--offline', '--no-audit', '--no-fund', ...tarballs.map((name) => `./${name}`)],
        {
            cwd: project,
            limit: 120_000,
        },
    )
    assert.equal(installed.status, 0, installed.output)
})
after(() => rmSync(project, { recursive: true, force: true }))

const node = (...given) => run(process.execPath, given, { cwd: project })

const manifestOf = (name) => JSON.parse(readFileSync(join(project, 'node_modules', name, 'package.json'), 'utf8'))
const PLATFORM = [
    process.platform,
    process.arch,
    ...({ linux: ['gnu'], win32: ['msvc'] }[process.platform] ?? []),
].join('-')

test('pack.mjs declares only the platforms that were built', () => {
    const { version, optionalDependencies } = manifestOf('pgentra')
    assert.deepEqual(optionalDependencies, { [`@pgentra/${PLATFORM}`]: version })
    assert.deepEqual(readdirSync(join(project, 'node_modules/@pgentra')), [PLATFORM])
})

test('pack.mjs declares all platforms of a release', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pgentra-release-'))
    try {
        const platforms = [
            ...['darwin-arm64', 'darwin-x64', 'linux-arm64-gnu', 'linux-arm64-musl', 'linux-x64-gnu', 'linux-x64-musl'],
            ...['win32-arm64-msvc', 'win32-x64-msvc'],
        ]
        for (const platform of platforms) writeFileSync(join(folder, `pgentra.${platform}.node`), 'an addon')
        const packed = await run(process.execPath, [join(PACKAGE, 'scripts/pack.mjs'), join(folder, 'out'), folder])
        assert.equal(packed.status, 0, packed.output)
        const version = manifestOf('pgentra').version
        const names = [...platforms.map((platform) => `pgentra-${platform}`), 'pgentra'].map(
            (name) => `${name}-${version}.tgz`,
        )
        assert.deepEqual(readdirSync(join(folder, 'out')).sort(), names.sort())
        const main = await run('tar', ['-xzOf', join(folder, 'out', `pgentra-${version}.tgz`), 'package/package.json'])
        const { optionalDependencies } = JSON.parse(main.output)
        assert.deepEqual(Object.keys(optionalDependencies).sort(), platforms.map((name) => `@pgentra/${name}`).sort())
    } finally {
        rmSync(folder, { recursive: true, force: true })
    }
})

test('package has no dependency and no script, and drivers are optional peers', () => {
    const packages = readdirSync(join(project, 'node_modules')).filter((name) => !name.startsWith('.'))
    assert.deepEqual(packages.sort(), ['@pgentra', 'pgentra'])
    for (const name of ['pgentra', `@pgentra/${PLATFORM}`]) {
        const manifest = manifestOf(name)
        assert.equal(manifest.dependencies, undefined)
        assert.equal(manifest.scripts, undefined)
    }
    const { peerDependencies, peerDependenciesMeta } = manifestOf('pgentra')
    for (const name of Object.keys(peerDependencies)) assert.equal(peerDependenciesMeta[name].optional, true)
})

test('package without its addon names the package to install', async () => {
    const at = join(project, 'node_modules/@pgentra')
    renameSync(at, `${at}-away`)
    try {
        const { status, output } = await node('-e', "require('pgentra')")
        assert.equal(status, 1)
        assert.match(output, new RegExp(`@pgentra/${PLATFORM}`))
    } finally {
        renameSync(`${at}-away`, at)
    }
})

const WORK = `new ChainedTokenCredential(new StaticTokenCredential('t', Date.now() + 3600e3))`

test('package works in ESM', async () => {
    const text = `import { entraTokenProvider } from 'pgentra'
    import { ChainedTokenCredential, StaticTokenCredential } from 'pgentra/identity'
    console.log(await entraTokenProvider(${WORK})())`
    assert.deepEqual(await node('--input-type=module', '-e', text), { status: 0, output: 't\n' })
})

test('package works in CommonJS', async () => {
    const text = `const { entraTokenProvider } = require('pgentra')
    const { ChainedTokenCredential, StaticTokenCredential } = require('pgentra/identity')
    entraTokenProvider(${WORK})().then(console.log)`
    assert.deepEqual(await node('-e', text), { status: 0, output: 't\n' })
})

test('package works in TypeScript', async () => {
    writeFileSync(
        join(project, 'program.ts'),
        `import { entraTokenProvider, TokenProvider } from 'pgentra'
     import { StaticTokenCredential } from 'pgentra/identity'
     export const password: () => Promise<string> = entraTokenProvider(new StaticTokenCredential('t'))
     export const login: Promise<{ user: string }> = new TokenProvider().login()`,
    )
    const tsc = require.resolve('typescript/bin/tsc')
    for (const [kind, module, resolution, ...more] of [
        ['commonjs', 'nodenext', 'nodenext'],
        ['module', 'nodenext', 'nodenext'],
        ['commonjs', 'commonjs', 'node10', '--ignoreDeprecations', '5.0'],
    ]) {
        writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: kind }))
        const options = ['--noEmit', '--strict', '--skipLibCheck', 'false', '--target', 'es2022', '--module', module]
        const { status, output } = await node(tsc, ...options, '--moduleResolution', resolution, ...more, 'program.ts')
        assert.equal(status, 0, output)
    }
})
