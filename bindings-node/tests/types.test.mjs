// Checks index.d.ts with programs of users, and against the exports.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { test } from 'node:test'
import * as pgentra from 'pgentra'
import * as identity from 'pgentra/identity'
import { PACKAGE, run } from './emulator.mjs'

const require = createRequire(import.meta.url)
const ts = require('typescript')

for (const [module, resolution, skip] of [
    ['nodenext', 'nodenext', 'false'],
    ['nodenext', 'nodenext', 'true'],
    ['esnext', 'bundler', 'true'],
]) {
    test(`tsc --strict, ${resolution}, skipLibCheck ${skip}`, async () => {
        const options = ['--noEmit', '--strict', '--target', 'es2022', '--types', 'node', '--esModuleInterop']
        const { status, output } = await run(
            process.execPath,
            [
                require.resolve('typescript/bin/tsc'),
                ...options,
                '--module',
                module,
                '--moduleResolution',
                resolution,
            ].concat(...['--skipLibCheck', skip, join(PACKAGE, 'tests/types/program.ts')]),
            { cwd: PACKAGE, limit: 120_000 },
        )
        assert.equal(status, 0, output)
    })
}

test('declarations contain exactly the exports', () => {
    for (const [module, file] of [
        [pgentra, 'index'],
        [identity, 'identity'],
    ]) {
        const program = ts.createProgram([join(PACKAGE, `lib/${file}.d.ts`)], { strict: true })
        const checker = program.getTypeChecker()
        const source = program.getSourceFile(join(PACKAGE, `lib/${file}.d.ts`))
        const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(source))
        const isValue = (symbol) => {
            const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
            return (target.flags & ts.SymbolFlags.Value) !== 0
        }
        const declared = exported.filter(isValue).map(({ name }) => name)
        assert.deepEqual(declared.sort(), Object.keys(module).sort())
    }
})
