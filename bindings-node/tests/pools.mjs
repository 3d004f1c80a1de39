// Pools of each driver whose connections are replaced continuously, and their results.
//
//   node tests/pools.mjs SIZE [CLIENT_ID]    connects to PGHOST as that managed identity until standard input ends, and
//                                            prints a line of JSON each second

import { pathToFileURL } from 'node:url'
import { ManagedIdentityCredential } from 'pgentra/identity'
import { DRIVERS } from './drivers.mjs'

/** The time in milliseconds after which a connection is replaced. */
const KEPT_MS = 1000

/** Starts the pools of some drivers (default: all). `tallies` has their results, `stop()` ends them. */
export async function startPools(place, credential, size, names = Object.keys(DRIVERS)) {
    let isOver = false
    const tallies = {}
    const runs = names.map(async (name) => {
        const driver = DRIVERS[name]
        const tally = (tallies[name] = { logins: 0, failures: [], roles: [], slowest: 0 })
        const pool = await driver.open(place, credential, { max: size })
        const repeat = async (index) => {
            // Not all at the same time.
            await pause((index * KEPT_MS) / size)
            while (!isOver) {
                const started = performance.now()
                try {
                    const { role } = await pool.who()
                    const took = (performance.now() - started) / 1000
                    tally.logins++
                    if (!tally.roles.includes(role)) tally.roles.push(role)
                    tally.slowest = Math.max(tally.slowest, took)
                } catch (error) {
                    tally.failures.push(`${error?.name}: ${error?.message}`.slice(0, 300))
                }
                await pause(KEPT_MS)
            }
        }
        await Promise.all(Array.from({ length: size }, (_, index) => repeat(index)))
        await pool.close()
    })
    return {
        tallies,
        async stop() {
            isOver = true
            await Promise.all(runs)
        },
    }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
    const { PGHOST: host, PGPORT: port, PGDATABASE: database } = process.env
    const [size, clientId] = process.argv.slice(2)
    const credential = clientId && new ManagedIdentityCredential(clientId)
    const pools = await startPools({ host, port: Number(port), database, ssl: true }, credential, Number(size))
    const tell = () => console.log(JSON.stringify(pools.tallies))
    const teller = setInterval(tell, 1000)
    process.stdin.resume().on('end', async () => {
        clearInterval(teller)
        await pools.stop()
        tell()
    })
}
