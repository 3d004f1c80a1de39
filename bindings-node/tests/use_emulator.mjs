// The emulator of a test file.

import { after, before, beforeEach } from 'node:test'
import { ManagedIdentityCredential } from 'pgentra/identity'
import { Emulator } from './emulator.mjs'

/**
 * Starts one emulator for the tests of a file and stops it after them. It is reset before each test, and this process gets its
 * environment. `assign` gets the emulator before the first test, and before each test also a new identity with its credential.
 */
export function useEmulator(assign, options) {
    let emulator
    before(async () => {
        emulator = await Emulator.start()
        assign({ emulator })
    })
    after(() => emulator.stop())
    beforeEach(async () => {
        await emulator.reset()
        emulator.adopt()
        const identity = await emulator.addPrincipal()
        const credential = new ManagedIdentityCredential(identity.appid, options)
        assign({ emulator, identity, credential })
    })
}
