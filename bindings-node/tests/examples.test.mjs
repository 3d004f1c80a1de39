// Every sample of examples/node through the front door, as the README names them.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { Emulator, ROOT, run } from './emulator.mjs'

const folder = join(ROOT, 'examples/node')
const { scripts } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))

let emulator
before(async () => {
    emulator = await Emulator.start()
})
after(() => emulator.stop())
beforeEach(() => emulator.reset())

for (const [name, command] of Object.entries(scripts)) {
    test(`npm run ${name}`, async () => {
        const [program, ...given] = command.split(' ')
        assert.equal(program, 'node')
        const { status, output } = await run(process.execPath, given, {
            cwd: folder,
            env: emulator.programEnvironment(),
        })
        assert.equal(status, 0, output)
        assert.match(output, /^\w+: logged in as app-mi after \d+ ms$/m)
        const { logins, counters } = await emulator.report()
        assert.equal(counters.plaintext_password_bytes, 0)
        assert.ok(
            logins.length > 0 && logins.every(({ tls, role }) => tls && role === 'app-mi'),
            JSON.stringify(logins),
        )
    })
}
