// The tarballs with package managers, bundlers, tools that trace files, and other runtimes; the types with other versions of
// TypeScript. They are installed from the registry, so only `make test-all` runs these tests.

import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { PACKAGE, ROOT, run } from './emulator.mjs'

const TOOLS = {
    '@vercel/nft': '^1.10.0',
    '@yarnpkg/cli-dist': '^4.10.0',
    bun: '^1.4.0',
    deno: '^2.5.0',
    esbuild: '^0.28.0',
    pnpm: '^12.0.0',
    'typescript-oldest': 'npm:typescript@5.0',
    'typescript-newest': 'npm:typescript@7',
    webpack: '^5.100.0',
    'webpack-cli': '^7.0.0',
    yarn: '^1.22.22',
}
const PROGRAM = `
const { TokenProvider } = require('pgentra')
const { StaticTokenCredential } = require('pgentra/identity')
const custom = () => ({ token: 'opaque', expiresOnTimestamp: Date.now() + 3600e3 })
const credentials = [new StaticTokenCredential('opaque', Date.now() + 3600e3), custom]
Promise.all(credentials.map((one) => new TokenProvider(one).get())).then((tokens) => console.log('got', ...tokens))`
const MODULE = PROGRAM.replace(/const (.*) = require\((.*)\)/g, 'import $1 from $2')
const GOT = /got opaque opaque/

if (!process.env.PGENTRA_LONG) {
    console.log('not tried: bundlers, package managers, Bun and Deno; make test-all runs them')
} else {
    let folder, app, away, tarballs
    before(async () => {
        folder = realpathSync(mkdtempSync(join(tmpdir(), 'pgentra-bundlers-')))
        app = join(folder, 'app')
        away = join(folder, 'away')
        for (const made of [app, away]) mkdirSync(made)
        await succeeds(process.execPath, [join(PACKAGE, 'scripts/pack.mjs'), join(folder, 'tarballs')])
        tarballs = readdirSync(join(folder, 'tarballs')).map((name) => join(folder, 'tarballs', name))
        // The tools are next to the program's folder, so that a bundle cannot find pgentra among them.
        writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, dependencies: TOOLS }))
        await succeeds('npm', ['install', '--no-audit', '--no-fund'], { cwd: folder })
        program(app)
        await succeeds('npm', ['install', '--no-audit', '--no-fund', ...tarballs], { cwd: app })
    })
    after(() => rmSync(folder, { recursive: true, force: true }))

    const tool = (name) => join(folder, 'node_modules/.bin', name)
    const works = async (command, args, cwd) => assert.match(await succeeds(command, args, { cwd }), GOT)

    /** Writes the program into a project. */
    const program = (project, manifest = {}) => {
        mkdirSync(project, { recursive: true })
        writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, ...manifest }))
        writeFileSync(join(project, 'program.cjs'), PROGRAM)
        writeFileSync(join(project, 'program.mjs'), MODULE)
    }

    test('@vercel/nft traces the addon', async () => {
        const { nodeFileTrace } = createRequire(join(folder, 'package.json'))('@vercel/nft')
        const { fileList, warnings } = await nodeFileTrace([join(app, 'program.cjs')], { base: app })
        assert.deepEqual([...warnings].map(String), [])
        for (const file of fileList) {
            const copy = join(away, 'traced', file)
            mkdirSync(dirname(copy), { recursive: true })
            cpSync(join(app, file), copy)
        }
        await works(process.execPath, ['program.cjs'], join(away, 'traced'))
    })

    test('esbuild bundles pgentra in place, and as external', async () => {
        const build = ['--bundle', '--platform=node', '--log-level=warning']
        const run = (args) => succeeds(tool('esbuild'), [...build, ...args], { cwd: app })
        assert.equal(await run(['program.cjs', '--outfile=out/in-place.cjs']), '')
        await works(process.execPath, ['out/in-place.cjs'], app)
        const external = ['--external:pgentra', '--format=esm', '--outfile=out/external.mjs']
        assert.equal(await run(['program.mjs', ...external]), '')
        await works(process.execPath, ['out/external.mjs'], app)
        // A bundle without node_modules names the solution.
        cpSync(join(app, 'out/in-place.cjs'), join(away, 'in-place.cjs'))
        const { status, output } = await runIn(away, process.execPath, ['in-place.cjs'])
        assert.notEqual(status, 0)
        assert.match(output, /mark pgentra as external and deploy node_modules with the bundle/)
    })

    test('webpack bundles pgentra in place, and as external', async () => {
        const build = [tool('webpack'), '--mode', 'production', '--target', 'node', '--entry', './program.cjs']
        for (const more of [[], ['--externals', '/^pgentra/', '--externals-type', 'commonjs']]) {
            await succeeds(process.execPath, [...build, '-o', `webpack-${more.length}`, ...more], { cwd: app })
            await works(process.execPath, [`webpack-${more.length}/main.js`], app)
        }
    })

    test('Next.js standalone contains the addon', { timeout: 900_000 }, async () => {
        const project = join(app, 'next')
        cpSync(join(ROOT, 'tests/e2e/frameworks/node-large/next'), project, { recursive: true })
        writeFileSync(join(project, 'package.json'), '{"private": true}')
        // Without it, Next.js takes the folder of the tools for the project's.
        const config = join(project, 'next.config.mjs')
        const root = `outputFileTracingRoot: ${JSON.stringify(project)}`
        writeFileSync(config, readFileSync(config, 'utf8').replace(' };', `, ${root} };`))
        await succeeds(
            'npm',
            ['install', '--no-audit', '--no-fund', 'next@^16', 'react@^19', 'react-dom@^19', ...tarballs],
            {
                cwd: project,
            },
        )
        for (const bundler of ['--webpack', '--turbopack']) {
            await succeeds(join(project, 'node_modules/.bin/next'), ['build', bundler], {
                cwd: project,
                env: { ...process.env, NEXT_TELEMETRY_DISABLED: '1' },
            })
            const standalone = join(away, `next${bundler}`)
            // Turbopack links external packages by relative symbolic links.
            cpSync(join(project, '.next/standalone'), standalone, { recursive: true, verbatimSymlinks: true })
            rmSync(join(project, '.next'), { recursive: true })
            const requested = `
                process.env.PORT = '0'
                const { createServer } = require('node:http')
                const listen = require('node:net').Server.prototype.listen
                require('node:net').Server.prototype.listen = function (...given) {
                    this.once('listening', async () => {
                        const { port } = this.address()
                        const response = await fetch('http://127.0.0.1:' + port + '/token')
                        console.log('got', response.status, await response.text())
                        process.exit()
                    })
                    return listen.apply(this, given)
                }
                require('./server.js')`
            assert.match(
                await succeeds(process.execPath, ['-e', requested], { cwd: standalone }),
                /got 200 opaque/,
                bundler,
            )
        }
    })

    test('Bun runs pgentra, and compiles it with pgentra/bun', async () => {
        for (const file of ['program.cjs', 'program.mjs']) await works(tool('bun'), [file], app)
        const text = MODULE.replace(/'pgentra(\/identity)?'/g, "'pgentra/bun'")
        writeFileSync(join(app, 'compiled.mjs'), text)
        const compiled = join(away, 'compiled')
        await succeeds(tool('bun'), ['build', '--compile', 'compiled.mjs', '--outfile', compiled], { cwd: app })
        await works(compiled, [], away)
    })

    test('Deno runs pgentra', async () => {
        for (const file of ['program.cjs', 'program.mjs'])
            await works(tool('deno'), ['run', '--allow-all', '--node-modules-dir=manual', file], app)
    })

    test('pnpm installs the tarballs', async () => {
        const project = join(away, 'pnpm')
        program(project)
        await succeeds(tool('pnpm'), ['add', ...tarballs], { cwd: project })
        for (const file of ['program.cjs', 'program.mjs']) await works(process.execPath, [file], project)
    })

    for (const version of ['oldest', 'newest']) {
        test(`types compile with the ${version} TypeScript`, async () => {
            const tsc = join(folder, `node_modules/typescript-${version}/bin/tsc`)
            const options = '--noEmit --strict --skipLibCheck --target es2022 --types node --esModuleInterop'.split(' ')
            // Without it, the newest one does not accept files beside a tsconfig.json.
            if (version === 'newest') options.push('--ignoreConfig')
            for (const [module, resolution] of [
                ['nodenext', 'nodenext'],
                ['esnext', 'bundler'],
            ]) {
                const given = [...options, '--module', module, '--moduleResolution', resolution]
                await succeeds(process.execPath, [tsc, ...given, 'tests/types/program.ts'], { cwd: PACKAGE })
            }
        })
    }

    const classic = ['yarn/bin/yarn.js', {}]
    const berry = (nodeLinker) => [
        '@yarnpkg/cli-dist/bin/yarn.js',
        { nodeLinker, enableTelemetry: false, pnpEnableEsmLoader: true },
    ]
    for (const [name, [bin, settings]] of Object.entries({
        'Yarn 1': classic,
        'Yarn 4 with node_modules': berry('node-modules'),
        "Yarn 4 with Plug'n'Play": berry('pnp'),
    })) {
        test(`${name} installs the tarballs`, async () => {
            const project = mkdtempSync(join(away, 'yarn-'))
            const addon = tarballs.find((one) => !/^pgentra-\d/.test(basename(one)))
            const main = tarballs.find((one) => one !== addon)
            const platform = /^pgentra-(.*)-\d+\.\d+\.\d+\.tgz$/.exec(basename(addon))[1]
            // Yarn requests the package of the platform from the registry unless a resolution names the tarball.
            program(project, { resolutions: { [`@pgentra/${platform}`]: `file:${addon}` } })
            if (bin !== classic[0]) {
                const npmRegistryServer = (await succeeds('npm', ['config', 'get', 'registry'])).trim()
                writeFileSync(join(project, '.yarnrc.yml'), JSON.stringify({ ...settings, npmRegistryServer }))
                // A project of its own, below the folder of the tools.
                writeFileSync(join(project, 'yarn.lock'), '')
            }
            const yarn = (...args) => [process.execPath, [join(folder, 'node_modules', bin), ...args]]
            await succeeds(...yarn('add', `pgentra@file:${main}`), { cwd: project })
            for (const file of ['program.cjs', 'program.mjs']) await works(...yarn('node', file), project)
        })
    }
}

const runIn = (cwd, command, args) => run(command, args, { cwd, limit: 300_000 })

/** Runs a command that must succeed, and returns its output. */
async function succeeds(command, args, options) {
    const { status, output } = await run(command, args, { limit: 600_000, ...options })
    assert.equal(status, 0, `${command} ${args.join(' ')}: ${output}`)
    return output
}
