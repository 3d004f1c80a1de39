// A process ends in every situation: no thread and no callback of the library keeps it running. Each situation is run 20
// times, or PGENTRA_EXITS times.

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { PACKAGE, run } from './emulator.mjs'

const COUNT = Number(process.env.PGENTRA_EXITS ?? 20)
const LIMIT_MS = 10_000
const AT_ONCE = 4

let server
before(async () => {
    // A managed identity's endpoint: one path does not respond, the other responds after 100 ms.
    server = createServer((request, response) => {
        if (request.url.startsWith('/never')) return
        const answer = {
            access_token: 'a.b.c',
            expires_on: String(Math.floor(Date.now() / 1000) + 3600),
            resource: 'r',
        }
        setTimeout(() => response.end(JSON.stringify(answer)), 100)
    })
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
})
after(() => {
    server.closeAllConnections()
    server.close()
})

const REQUIRE = `
  const { setLogger, TokenProvider } = require(${JSON.stringify(PACKAGE)})
  const { ManagedIdentityCredential } = require(${JSON.stringify(`${PACKAGE}/lib/identity.js`)})
  const { Worker, isMainThread, parentPort } = require('node:worker_threads')
  const good = () => new TokenProvider(() => ({ token: 'a.b.c', expiresOnTimestamp: Date.now() + 3600e3 }))
  const fetch = (scope) => new TokenProvider(new ManagedIdentityCredential(), { scope }).get()
  const around = (milliseconds) => milliseconds - 15 + Math.random() * 30`

/** Returns a program whose main thread runs `main`; its `work(...)` starts a worker that runs `worker`. */
function withWorker(main, worker) {
    return `
  const code = ${JSON.stringify(`${REQUIRE}\n${worker}`)}
  const begun = (one) => new Promise((resolve) => one.once('message', resolve))
  const worker = new Worker(code, { eval: true })
  ${main}`
}
const FETCH_AND_TELL = `fetch().catch(() => {}); setTimeout(() => parentPort.postMessage('begun'), 20)`

/** By name: the program, its status, and the endpoint that it uses. */
const situations = {
    'process.exit during a fetch': {
        program: 'fetch(); setTimeout(() => process.exit(3), 20)',
        status: 3,
    },
    'process.exit as a fetch ends': {
        program: `setLogger(() => {}); fetch(); setTimeout(() => process.exit(3), around(100))`,
        status: 3,
        path: 'soon',
    },
    'process.exit in a credential': {
        program: 'new TokenProvider(() => process.exit(3)).get()',
        status: 3,
    },
    'process.exit in a logger': {
        program: 'setLogger(() => process.exit(3)); good().get()',
        status: 3,
    },
    'process.exit with a credential that never answers': {
        program:
            'new TokenProvider(() => { setTimeout(() => process.exit(3), 5); return new Promise(() => {}) }).get()',
        status: 3,
    },
    'an uncaught error during a fetch': {
        program: `fetch(); setTimeout(() => { throw new Error('the end') }, 20)`,
        status: 1,
    },
    'an unhandled rejection during a fetch': {
        program: `fetch(); setTimeout(() => Promise.reject(new Error('the end')), 20)`,
        status: 1,
    },
    'SIGTERM during a fetch': {
        program: `fetch(); setTimeout(() => process.kill(process.pid, 'SIGTERM'), 20)`,
        status: 'SIGTERM',
    },
    'handlers of exit and beforeExit that ask for tokens': {
        program: `
  process.once('beforeExit', () => good().get())
  process.on('exit', () => { fetch(); good().get() })
  good().get()`,
    },
    'refreshes ahead of time, and events': {
        program: `
  setLogger(() => {})
  const credential = () => ({ token: 'a.b.c', expiresOnTimestamp: Date.now() + 2000 })
  new TokenProvider(credential, { mode: 'ahead' }).get()`,
    },
    'a worker that exits during a fetch': {
        program: withWorker('', `fetch(); setTimeout(() => process.exit(0), 20)`),
    },
    'a worker that is terminated as its fetch ends': {
        program: withWorker(
            `begun(worker).then(() => setTimeout(() => worker.terminate(), around(80)))`,
            `setLogger(() => {})\n${FETCH_AND_TELL}`,
        ),
        path: 'soon',
    },
    'an uncaught error of a worker during a fetch': {
        program: withWorker(
            `worker.on('error', () => {})`,
            `fetch(); setTimeout(() => { throw new Error('the end') }, 20)`,
        ),
    },
    'process.exit while a worker fetches': {
        program: withWorker(
            `begun(worker).then(() => { fetch('api://main/.default'); process.exit(3) })`,
            FETCH_AND_TELL,
        ),
        status: 3,
    },
}

for (const [name, { program, status = 0, path = 'never' }] of Object.entries(situations)) {
    test(`process ends: ${name}`, async () => {
        const env = {
            ...process.env,
            IDENTITY_ENDPOINT: `http://127.0.0.1:${server.address().port}/${path}`,
            IDENTITY_HEADER: 'h',
        }
        const exits = []
        const one = async () => {
            while (exits.length < COUNT) {
                const place = exits.push(undefined) - 1
                exits[place] = await run(process.execPath, ['-e', `${REQUIRE}\n${program}`], { env, limit: LIMIT_MS })
            }
        }
        await Promise.all(Array.from({ length: AT_ONCE }, one))
        const wrong = exits.filter((exit) => exit.status !== status)
        assert.deepEqual(wrong, [], `${wrong.length} of ${COUNT} did not end with ${status}; SIGKILL: not within 10 s`)
    })
}
