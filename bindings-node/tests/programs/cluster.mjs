// A primary and two workers of a cluster, each with a token.
import cluster from 'node:cluster'
import { TokenProvider } from 'pgentra'

const token = await new TokenProvider().get()
if (cluster.isPrimary) {
    const answers = [cluster.fork(), cluster.fork()].map(
        (worker) =>
            new Promise((resolve) => {
                worker.once('message', resolve)
                worker.once('exit', () => resolve('ended without a word'))
            }),
    )
    console.log(...(await Promise.all(answers)))
} else {
    process.send(token.length > 100)
    process.disconnect()
}
