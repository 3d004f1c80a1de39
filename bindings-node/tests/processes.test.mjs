// The start and the end of processes and workers.

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { after, before, beforeEach, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { Emulator, PACKAGE, run } from './emulator.mjs'

let emulator
before(async () => {
    emulator = await Emulator.start()
})
after(() => emulator.stop())
beforeEach(() => emulator.reset())

function program(text, { arguments: more = [], env = {}, type = 'module' } = {}) {
    return run(process.execPath, [...more, `--input-type=${type}`, '-e', text], {
        cwd: PACKAGE,
        env: { ...emulator.environment(), ...env },
        limit: 30_000,
    })
}
const IMPORTS = `
  import { TokenProvider, entraTokenProvider } from 'pgentra'
  import { ManagedIdentityCredential } from 'pgentra/identity'
`

test('process with a top-level await of a token ends after it', async () => {
    await emulator.addFault({ endpoint: 'app_service', latency_ms: 500 })
    const { status, output } = await program(`${IMPORTS} console.log((await new TokenProvider().get()).slice(0, 3))`)
    assert.deepEqual([status, output], [0, 'eyJ\n'])
})

test('process with a background refresh ends', async () => {
    await emulator.setTokens({ lifetime_s: 5 })
    const text = `${IMPORTS}
    const provider = new TokenProvider(undefined, { mode: 'ahead' })
    await provider.get()
    process.on('exit', () => console.log('ended'))`
    const started = Date.now()
    const { status, output } = await program(text)
    assert.deepEqual([status, output], [0, 'ended\n'])
    assert.ok(Date.now() - started < 5000)
})

test('process with an aborted wait ends', async () => {
    await emulator.addFault({ endpoint: 'app_service', connection: 'black_hole' })
    const started = Date.now()
    const { status, output } = await program(`${IMPORTS}
    await new TokenProvider().get({ abortSignal: AbortSignal.timeout(100) }).catch((error) => console.log(error.name))`)
    assert.deepEqual([status, output], [0, 'TimeoutError\n'])
    assert.ok(Date.now() - started < 10_000)
})

test('process.exit during a fetch ends the process', async () => {
    await emulator.addFault({ endpoint: 'app_service', connection: 'black_hole' })
    const { status, output } = await program(`${IMPORTS}
    new TokenProvider().get()
    entraTokenProvider(() => new Promise(() => {}))()
    setTimeout(() => process.exit(7), 200)`)
    assert.deepEqual([status, output], [7, ''])
})

test('process that exits returns a cached token and starts no fetch', async () => {
    const { status, output } = await program(
        `
    const { TokenProvider } = require('pgentra')
    let asked = 0
    const warm = new TokenProvider(() => ({ token: 'warm', expiresOnTimestamp: Date.now() + 3600e3 }))
    warm.get().then(() => {
      process.on('exit', () => {
        new TokenProvider(() => { asked++ }).get().catch((error) => process._rawDebug(error.code))
        warm.get().then((token) => process._rawDebug(token))
        process._rawDebug('asked', asked)
      })
    })`,
        { type: 'commonjs' },
    )
    assert.equal(status, 0)
    assert.match(output, /asked 0/)
})

test('engine after shutdown raises shutting_down and calls no credential', async () => {
    // As in the listener of `exit`, after which no promise settles.
    const { status, output } = await program(
        `
    const { TokenProvider } = require('pgentra')
    const { native } = require('./lib/addon.js')
    let asked = 0
    const foreign = new TokenProvider(() => { asked++; return 't' })
    native.shutdown()
    const told = [foreign, new TokenProvider()].map((one) => one.get().catch(({ code, message }) => [code, message]))
    Promise.all(told).then((all) => console.log(JSON.stringify(all), asked))`,
        { type: 'commonjs' },
    )
    assert.equal(status, 0, output)
    assert.match(output, /^\[\["shutting_down",".+"\],\["shutting_down",".+"\]\] 0\n$/)
})

test('custom credential that responds while the process exits is ignored', async () => {
    const { status, output } = await program(
        `
    const { TokenProvider } = require('pgentra')
    let answer
    new TokenProvider(() => new Promise((resolve) => { answer = resolve })).get()
    setTimeout(() => process.exit(3), 100)
    process.on('exit', () => answer({ token: 't', expiresOnTimestamp: Date.now() + 3600e3 }))`,
        { type: 'commonjs' },
    )
    assert.deepEqual([status, output], [3, ''])
})

test('custom credential with an uncaught error does not end the process', async () => {
    const { status, output } = await program(`${IMPORTS}
    const bad = entraTokenProvider(async () => { throw new Error('canary') })
    console.log(await bad().catch((error) => error.code), (await new TokenProvider().get()).length > 100)`)
    assert.deepEqual([status, output], [0, 'custom_credential true\n'])
})

test('process prints nothing, and events with DEBUG=pgentra', async () => {
    const text = `${IMPORTS} await new TokenProvider().get(); await new Promise((resolve) => setTimeout(resolve, 100))`
    assert.equal((await program(text)).output, '')
    const { output } = await program(text, { env: { DEBUG: 'pgentra' } })
    assert.match(output, /pgentra debug .*fetch/)
    assert.doesNotMatch(output, /eyJ/)
})

test('package that is loaded many times into one process accumulates nothing', async () => {
    const { status, output } = await program(
        `for (let i = 0; i < 20; i++) {
      for (const name of Object.keys(require.cache)) if (name.includes('bindings-node')) delete require.cache[name]
      require('pgentra')
    }
    console.log(process.listenerCount('exit'))`,
        { type: 'commonjs' },
    )
    assert.deepEqual([status, output], [0, '1\n'])
})

test('child_process.fork starts a process that logs in', async () => {
    const child = fork(new URL('programs/child.mjs', import.meta.url), { env: emulator.environment(), silent: true })
    assert.ok((await message(child)) > 100)
})

test('cluster worker logs in after the primary has a token', async () => {
    const { status, output } = await run(
        process.execPath,
        [new URL('programs/cluster.mjs', import.meta.url).pathname],
        {
            env: emulator.environment(),
            limit: 30_000,
        },
    )
    assert.deepEqual([status, output], [0, 'true true\n'])
})

function worker(text, options = {}) {
    return new Worker(
        `const { parentPort } = require('node:worker_threads')
    const { TokenProvider, stats } = require(${JSON.stringify(PACKAGE)})
    const { ManagedIdentityCredential } = require(${JSON.stringify(`${PACKAGE}/lib/identity.js`)})
    ${text}`,
        { eval: true, ...options },
    )
}
const message = (one) =>
    new Promise((resolve, reject) => {
        one.once('message', resolve)
        one.once('error', reject)
    })
const ended = (one) => new Promise((resolve) => one.once('exit', resolve))

test('worker threads share the cache entries of built-in credentials', async () => {
    const identity = await emulator.addPrincipal()
    const env = emulator.environment()
    const text = `new TokenProvider(new ManagedIdentityCredential('${identity.appid}')).get().then((token) => parentPort.postMessage(token))`
    const tokens = []
    for (let i = 0; i < 3; i++) {
        const one = worker(text, { env })
        const exit = ended(one)
        tokens.push(await message(one))
        assert.equal(await exit, 0)
    }
    assert.equal(new Set(tokens).size, 1)
    assert.equal((await emulator.databaseRequests(identity)).length, 1)
})

test('worker thread uses its own environment', async () => {
    const env = { ...emulator.environment(), PGUSER: 'of-this-worker' }
    const one = worker(`new TokenProvider().login().then(({ user }) => parentPort.postMessage(user))`, { env })
    assert.equal(await message(one), 'of-this-worker')
    assert.equal(process.env.PGUSER, undefined)
})

test('worker thread that is terminated during a fetch does not affect others', async () => {
    const fault = await emulator.addFault({ endpoint: 'app_service', latency_ms: 700 })
    const env = emulator.environment()
    for (let round = 0; round < 5; round++) {
        const identity = await emulator.addPrincipal()
        const one = worker(
            `
      const foreign = { getToken: () => { parentPort.postMessage('asked'); return new Promise(() => {}) } }
      new TokenProvider(foreign).get()
      new TokenProvider(new ManagedIdentityCredential('${identity.appid}')).get()`,
            { env },
        )
        await message(one)
        await one.terminate()
    }
    // The fetches end after the workers have ended.
    await new Promise((resolve) => setTimeout(resolve, 1000))
    await emulator.clearFault(fault)
    const one = worker(`new TokenProvider().get().then((token) => parentPort.postMessage(token.length))`, { env })
    assert.ok((await message(one)) > 100)
})

test('package is loaded again after the last worker thread that had it ended', async () => {
    const { status, output } = await run(process.execPath, [new URL('programs/reload.mjs', import.meta.url).pathname], {
        env: emulator.environment(),
        limit: 30_000,
    })
    assert.deepEqual([status, output], [0, 'true true true\n'])
})
