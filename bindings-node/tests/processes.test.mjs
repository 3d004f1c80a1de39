// How processes and workers begin and end.

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

test('a top-level await of a cold token ends with the token', async () => {
    await emulator.addFault({ endpoint: 'app_service', latency_ms: 500 })
    const { status, output } = await program(`${IMPORTS} console.log((await new TokenProvider().get()).slice(0, 3))`)
    assert.deepEqual([status, output], [0, 'eyJ\n'])
})

test('a background refresh does not hold the process open', async () => {
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

test('an aborted wait does not hold the process open', async () => {
    await emulator.addFault({ endpoint: 'app_service', connection: 'black_hole' })
    const started = Date.now()
    const { status, output } = await program(`${IMPORTS}
    await new TokenProvider().get({ abortSignal: AbortSignal.timeout(100) }).catch((error) => console.log(error.name))`)
    assert.deepEqual([status, output], [0, 'TimeoutError\n'])
    assert.ok(Date.now() - started < 10_000)
})

test('process.exit in the middle of a fetch', async () => {
    await emulator.addFault({ endpoint: 'app_service', connection: 'black_hole' })
    const { status, output } = await program(`${IMPORTS}
    new TokenProvider().get()
    entraTokenProvider(() => new Promise(() => {}))()
    setTimeout(() => process.exit(7), 200)`)
    assert.deepEqual([status, output], [7, ''])
})

test('asked after the process began to exit', async () => {
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

test('after the end of the engine: a typed error, and nobody is asked', async () => {
    // What the listener of `exit` does; after it no promise settles any more.
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

test('a credential that answers after the process began to exit', async () => {
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

test('an uncaught error of a credential ends nothing else', async () => {
    const { status, output } = await program(`${IMPORTS}
    const bad = entraTokenProvider(async () => { throw new Error('canary') })
    console.log(await bad().catch((error) => error.code), (await new TokenProvider().get()).length > 100)`)
    assert.deepEqual([status, output], [0, 'custom_credential true\n'])
})

test('nothing is printed; DEBUG=pgentra shows the events', async () => {
    const text = `${IMPORTS} await new TokenProvider().get(); await new Promise((resolve) => setTimeout(resolve, 100))`
    assert.equal((await program(text)).output, '')
    const { output } = await program(text, { env: { DEBUG: 'pgentra' } })
    assert.match(output, /pgentra debug .*fetch/)
    assert.doesNotMatch(output, /eyJ/)
})

test('loaded many times into one process, as test runners do: nothing piles up', async () => {
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

test('child_process.fork', async () => {
    const child = fork(new URL('programs/child.mjs', import.meta.url), { env: emulator.environment(), silent: true })
    assert.ok((await message(child)) > 100)
})

test('cluster, after the primary has a token', async () => {
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

test('workers share the cells of built-in credentials', async () => {
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

test("a worker's own environment counts", async () => {
    const env = { ...emulator.environment(), PGUSER: 'of-this-worker' }
    const one = worker(`new TokenProvider().login().then(({ user }) => parentPort.postMessage(user))`, { env })
    assert.equal(await message(one), 'of-this-worker')
    assert.equal(process.env.PGUSER, undefined)
})

test('workers terminated in the middle of a fetch', async () => {
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
    // The fetches end while nobody is there to be told.
    await new Promise((resolve) => setTimeout(resolve, 1000))
    await emulator.clearFault(fault)
    const one = worker(`new TokenProvider().get().then((token) => parentPort.postMessage(token.length))`, { env })
    assert.ok((await message(one)) > 100)
})

test('the module is loaded again after the last worker that had it ended', async () => {
    const { status, output } = await run(process.execPath, [new URL('programs/reload.mjs', import.meta.url).pathname], {
        env: emulator.environment(),
        limit: 30_000,
    })
    assert.deepEqual([status, output], [0, 'true true true\n'])
})
