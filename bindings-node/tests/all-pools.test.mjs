// Pools of all drivers at the same time, with short tokens.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ManagedIdentityCredential } from 'pgentra/identity'
import { DRIVERS } from './drivers.mjs'
import { Emulator } from './emulator.mjs'
import { startPools } from './pools.mjs'

const LIFETIME_S = 20
const SECONDS = 60

let emulator
before(async () => {
    emulator = await Emulator.start()
    emulator.adopt()
})
after(() => emulator.stop())

test('pools of every driver log in for a minute across the expiry of tokens of 20 s', () => runPools(SECONDS))

if (process.env.PGENTRA_LONG) {
    test('pools of every driver log in for ten minutes', { timeout: 900_000 }, () => runPools(600))
    for (const name of Object.keys(DRIVERS)) test(`a pool of ${name} for a minute`, () => runPools(SECONDS, [name]))
} else {
    console.log('not tried: a pool of each driver by itself, and ten minutes of all pools; make test-all runs them')
}

/** Runs pools, and checks that no login failed and no token was requested twice. */
async function runPools(seconds, names = Object.keys(DRIVERS)) {
    await emulator.reset()
    await emulator.setTokens({ lifetime_s: LIFETIME_S })
    const identity = await emulator.addPrincipal()
    const credential = new ManagedIdentityCredential(identity.appid)
    const pools = await startPools(emulator.target, credential, 10, names)
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
    await pools.stop()
    for (const [name, { logins, failures, roles }] of Object.entries(pools.tallies)) {
        assert.deepEqual(failures, [], name)
        assert.deepEqual(roles, [identity.name], name)
        assert.ok(logins > 2 * LIFETIME_S, `${name}: ${logins} logins`)
    }
    assert.deepEqual(Object.keys((await emulator.report()).counters.logins), ['logged_in'])
    const requests = await emulator.databaseRequests(identity)
    // A token of 20 s is refreshed when it is 8 to 10 s old.
    const apart = requests.slice(1).map(({ started_ms }, index) => started_ms - requests[index].started_ms)
    assert.ok(apart.length >= 5 && apart.every((age) => age > 7500), `${apart}`)
    const { counters, requests: all } = await emulator.call('GET', '/requests')
    assert.equal(counters.app_service.max_in_flight, 1)
    // The name comes from a management token, which is requested once.
    assert.equal(all.filter(({ principal }) => principal === identity.name).length, requests.length + 1)
}
