// Runs every JavaScript snippet of the documentation against the emulator instead of Azure.
//
// "```js" is run, "```js before" is code from before the migration, and "```js file=..." is a file of the user's project.

import assert from 'node:assert/strict'
import {
    existsSync,
    mkdirSync,
    mkdtempSync,
    readdirSync,
    readFileSync,
    rmSync,
    symlinkSync,
    writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { TokenProvider } from 'pgentra'
import * as identity from 'pgentra/identity'
import { Emulator, findEmulator, PACKAGE, ROOT, run } from './emulator.mjs'

const SERVER = 'shop.postgres.database.azure.com'
const samples = join(ROOT, 'examples/node/node_modules')

const documents = [
    'README.md',
    'bindings-node/README.md',
    ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`),
]
const snippets = documents
    .filter((name) => name.endsWith('.md'))
    .flatMap((document) => {
        const text = readFileSync(join(ROOT, document), 'utf8')
        return [...text.matchAll(/^```js(?: +([^\n]*))?\n([^]*?)^```$/gm)].map(([, info, code], index) => ({
            name: `${document}, ${index + 1}`,
            file: /^file=(\S+)$/.exec(info ?? '')?.[1],
            isRun: info !== 'before',
            code,
        }))
    })

/** The packages with which a snippet logs in. */
const DRIVERS = [
    '@mikro-orm/postgresql',
    '@prisma/adapter-pg',
    'drizzle-orm',
    'knex',
    'kysely',
    'pg',
    'postgres',
    'sequelize',
    'typeorm',
]

/** How a tool uses a file of the documentation. */
const TOOLS = {
    'knexfile.mjs': `import Knex from 'knex'
        import config from './knexfile.mjs'
        const knex = Knex(config)
        await knex.raw('select 1')
        await knex.destroy()`,
    'source.js': `import source from './source.js'
        await source.initialize()
        await source.destroy()`,
    'mikro-orm.js': `import orm from './mikro-orm.js'
        await orm.em.getConnection().execute('select 1')
        await orm.close()`,
    'config.cjs': `import { Sequelize } from 'sequelize'
        import config from './config.cjs'
        const sequelize = new Sequelize({ ...(await config()), logging: false })
        await sequelize.authenticate()
        await sequelize.close()`,
    'url.mjs': `import { execFileSync } from 'node:child_process'
        import pg from 'pg'
        const connectionString = execFileSync(process.execPath, ['url.mjs'], { encoding: 'utf8' }).trim()
        const client = new pg.Client({ connectionString })
        await client.connect()
        await client.end()`,
}

let emulator, project
before(async () => {
    emulator = await Emulator.start()
    project = mkdtempSync(join(tmpdir(), 'pgentra-documentation-'))
    writeFileSync(join(project, 'package.json'), '{"private": true, "type": "module"}')
    for (const name of [...DRIVERS, '@azure/identity', 'pgentra']) {
        const place = join(project, 'node_modules', name)
        mkdirSync(dirname(place), { recursive: true })
        const own = join(PACKAGE, 'node_modules', name)
        symlinkSync(name === 'pgentra' ? PACKAGE : existsSync(own) ? own : join(samples, name), place)
    }
})
after(() => {
    emulator.stop()
    rmSync(project, { recursive: true })
})

for (const { name, file, isRun, code } of snippets) {
    if (!isRun) continue
    test(`example of ${name}${file === undefined ? '' : `, ${file},`} works`, async () => {
        await emulator.reset()
        const env = emulator.programEnvironment()
        // Not every driver reads PGPORT.
        if (code.includes('serviceConnector')) {
            const variables = {
                HOST: env.PGHOST,
                PORT: env.PGPORT,
                DATABASE: env.PGDATABASE,
                USER: 'app-mi',
                SSL: 'true',
            }
            for (const [name, value] of Object.entries(variables)) env[`AZURE_POSTGRESQL_${name}`] = value
        }
        const place = `host: '${env.PGHOST}', port: ${env.PGPORT}`
        const text = code
            .replace(`const host = "${SERVER}"`, `const host = '${env.PGHOST}'`)
            .replace(`host: "${SERVER}"`, place)
        if (file !== undefined) writeFileSync(join(project, file), text)
        let given = ['--input-type=module', '-e', TOOLS[file] ?? text]
        if (file?.endsWith('.test.js')) {
            env.PATH = `${dirname(findEmulator())}:${env.PATH}`
            given = ['--test', file]
        } else if (file !== undefined) {
            assert.ok(file in TOOLS, `nobody knows what to do with ${file}`)
        }
        const { status, output } = await run(process.execPath, given, { cwd: project, env })
        assert.equal(status, 0, output)
        if (file?.endsWith('.test.js')) return
        const { logins } = await emulator.report()
        // A snippet without a driver creates credentials or requests tokens.
        const isConnected = file !== undefined || DRIVERS.some((name) => RegExp(`from ["']${name}["'/]`).test(code))
        assert.equal(logins.length > 0, isConnected, output)
        assert.ok(
            logins.every(({ tls, role }) => tls && role === 'app-mi'),
            output,
        )
    })
}

test('docs/node.md lists every option', () => {
    const text = readFileSync(join(ROOT, 'docs/node.md'), 'utf8')
    const [, table] = text.split('<!-- options')
    const listed = [...table.split('<!-- end')[0].matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name)
    const [, known] = /expected one of ([^.]*)\./.exec(
        assertThrown(() => new TokenProvider(undefined, { no: 1 })).message,
    )
    assert.deepEqual(listed.sort(), known.split(', ').sort())
})

function assertThrown(work) {
    try {
        work()
    } catch (error) {
        return error
    }
    return assert.fail('nothing was thrown')
}

test('docs/credentials.md shows how each credential is created', () => {
    const shown = snippets.filter(({ name }) => name.startsWith('docs/credentials.md')).map(({ code }) => code)
    const classes = Object.keys(identity).filter((name) => /Credential$/.test(name))
    assert.ok(classes.length > 0)
    assert.deepEqual(
        classes.filter((name) => !shown.join().includes(`new ${name}(`)),
        [],
    )
})
