// The token source fails from the arrival of a token on: for one identity until a second before the token expires, for
// another until after that. Every driver opens connections during this time.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { AuthenticationError } from 'pgentra'
import { ManagedIdentityCredential } from 'pgentra/identity'
import { DRIVERS, findError } from './drivers.mjs'
import { Emulator } from './emulator.mjs'

const LIFETIME_S = 20
/** A wait for the token source lasts until it recovers, or 30 s. A machine under load takes seconds to connect. */
const AT_ONCE_S = 10

let emulator
before(async () => {
    emulator = await Emulator.start()
    emulator.adopt()
})
after(() => emulator.stop())

const now = () => performance.now() / 1000
const until = (moment) => new Promise((resolve) => setTimeout(resolve, Math.max(0, (moment - now()) * 1000)))

/** Opens one connection after the other. */
async function watch(driver, credential, stop) {
    const attempts = []
    const pool = await driver.open(emulator.target, credential, { max: 1 })
    // At least one more, also if the last one took long.
    while (!stop.aborted || attempts.at(-1).error) {
        const started = now()
        const error = await pool.who().then(
            () => undefined,
            (problem) => problem,
        )
        attempts.push({ started, ended: now(), error })
        await until(now() + 0.2)
    }
    await pool.close()
    return attempts
}

/**
 * Whether the token expired during the login. Under load, a login can take longer than the last second of a token, in which
 * the token is not returned any more.
 */
const metTheEnd = ({ started, ended, error }, { requested, arrived }) =>
    started < arrived + LIFETIME_S &&
    ended > requested + LIFETIME_S - 1.5 &&
    /access token has expired/.test(String(error))

test('pools of every driver survive an outage while the token is valid and recover after it', async () => {
    await emulator.setTokens({ lifetime_s: LIFETIME_S })
    const stop = new AbortController()
    const start = async () => {
        const identity = await emulator.addPrincipal()
        // Without a usable token, a fetch would first repeat its request while callers wait.
        const credential = new ManagedIdentityCredential(identity.appid, { retryOptions: { maxRetries: 0 } })
        // The token is issued between these two moments, which can be seconds apart under load.
        const requested = now()
        const first = await DRIVERS.pg.open(emulator.target, credential)
        await first.who()
        await first.close()
        const arrived = now()
        const fault = await emulator.addFault({ principal: identity.name, status: 503 })
        const names = Object.keys(DRIVERS)
        const watches = Promise.all(names.map((name) => watch(DRIVERS[name], credential, stop.signal)))
        return { requested, arrived, fault, watches, names }
    }
    const [short, long] = [await start(), await start()]

    // A token of 20 s is not usable in its last second, so the token source must recover before that.
    await until(short.requested + LIFETIME_S - 1.5)
    await emulator.clearFault(short.fault)
    const returned = long.arrived + LIFETIME_S + 3
    await until(returned)
    await emulator.clearFault(long.fault)
    await until(returned + 7)
    stop.abort()

    for (const [index, attempts] of (await short.watches).entries()) {
        const name = short.names[index]
        const failed = attempts.filter((one) => one.error && !metTheEnd(one, short))
        assert.deepEqual(
            failed.map(({ error }) => error),
            [],
            name,
        )
        const slowest = Math.max(...attempts.map(({ started, ended }) => ended - started))
        assert.ok(slowest < AT_ONCE_S, `${name}: ${slowest} s`)
    }
    for (const [index, attempts] of (await long.watches).entries()) {
        const name = long.names[index]
        const failed = attempts.filter(({ error }) => error)
        assert.ok(failed.length > 0, name)
        assert.ok(failed[0].ended > long.requested + LIFETIME_S - 1.5, `${name}: ${failed[0].error}`)
        assert.ok(failed.at(-1).started < returned + 6, name)
        for (const { error, started, ended } of failed.filter((one) => !metTheEnd(one, long))) {
            const ours = findError(error, (one) => one instanceof AuthenticationError)
            assert.equal(ours?.code, 'service_unavailable', `${name}: ${error}`)
            assert.equal(ours.detail.transient, true)
            assert.match(ours.message, /503/)
            assert.ok(ended - started < AT_ONCE_S, `${name}: ${ended - started} s`)
        }
    }
})
