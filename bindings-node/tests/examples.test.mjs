// Runs every example of examples/node against the emulator.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
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

for (const [name, command] of Object.entries(scripts).filter(([name]) => name !== 'web')) {
    test(`example npm run ${name} works`, async () => {
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

test('npm run web connects as the user that calls the service', async () => {
    const secret = 'secret-of-the-service'
    const service = await emulator.addPrincipal('service_principal', { client_secret: secret })
    const [alice, careful] = [
        await emulator.addPrincipal('user'),
        await emulator.addPrincipal('user', { requires_mfa: true }),
    ]
    // The test advances its clock.
    const clock =
        'const { now } = Date; let on = 0; process.on("message", (ms) => (on = ms)); Date.now = () => now() + on'
    const child = spawn(process.execPath, ['--import', `data:text/javascript,${clock}`, 'web.js'], {
        cwd: folder,
        env: {
            ...emulator.programEnvironment(),
            AZURE_AUTHORITY_HOST: emulator.authorityHost,
            AZURE_TENANT_ID: emulator.tenantId,
            AZURE_CLIENT_ID: service.appid,
            AZURE_CLIENT_SECRET: secret,
            PORT: '0',
        },
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    let errors = ''
    child.stderr.on('data', (data) => (errors += data))
    const ended = once(child, 'exit')
    try {
        const [line] = await Promise.race([once(child.stdout, 'data'), ended.then(() => [errors])])
        const [, port] = /^listening on (\d+)/.exec(String(line)) ?? assert.fail(String(line))
        const ask = async (token) => {
            const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
            const answer = await fetch(`http://127.0.0.1:${port}/me`, { headers })
            return [answer.status, await answer.json(), answer.headers.get('www-authenticate')]
        }
        const tokenOf = async (user, settings = {}) =>
            (await emulator.mint(user.name, { audience: `api://${service.appid}`, ...settings })).token

        assert.deepEqual(await ask(), [401, { error: 'sign in first' }, 'Bearer'])
        const token = await tokenOf(alice)
        for (let request = 0; request < 3; request++) {
            assert.deepEqual(await ask(token), [200, { role: alice.name }, null])
        }
        const { counters } = await emulator.call('GET', '/requests')
        assert.equal(counters.token.total, 1)

        // A second factor is required. With it, the same request succeeds.
        const [status, body, challenge] = await ask(await tokenOf(careful))
        assert.deepEqual([status, body], [401, { error: 'interaction_required', aadsts: 50076 }])
        const [, claims] = /^Bearer error="insufficient_claims", claims="([^"]+)"$/.exec(challenge)
        assert.equal(typeof JSON.parse(Buffer.from(claims, 'base64').toString()).access_token, 'object')
        const strong = await tokenOf(careful, { claims: { amr: ['pwd', 'mfa'] } })
        assert.deepEqual(await ask(strong), [200, { role: careful.name }, null])

        // Another application's token, an expired token, and texts that are not tokens.
        const [foreign] = await ask((await emulator.mint(alice.name, { audience: 'api://another' })).token)
        const [over] = await ask(await tokenOf(alice, { lifetime_s: -600 }))
        const [garbage] = await ask('garbage')
        assert.deepEqual([foreign, over, garbage], [401, 401, 401])

        // The first token after its expiry: the token that it was exchanged for is still valid.
        assert.deepEqual(await ask(token), [200, { role: alice.name }, null])
        await new Promise((sent) => child.send(3601e3, sent))
        assert.deepEqual(await ask(token), [401, { error: 'sign in first' }, 'Bearer'])
    } finally {
        child.kill()
        await ended
    }
    assert.doesNotMatch(errors, /eyJ/)
})
