// Loads the package in one worker after the other and never in the main thread.
import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'

const path = createRequire(import.meta.url).resolve('pgentra')
const text = `
  const { TokenProvider } = require(${JSON.stringify(path)})
  new TokenProvider().get().then((token) => require('node:worker_threads').parentPort.postMessage(token.length > 100))`
const answers = []
for (let i = 0; i < 3; i++) {
    const worker = new Worker(text, { eval: true })
    const exit = new Promise((resolve) => worker.once('exit', resolve))
    answers.push(await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject)))
    await exit
}
console.log(...answers)
