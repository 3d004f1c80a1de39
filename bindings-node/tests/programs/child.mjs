// Forked by processes.test.mjs: tells how long its token is.
import { TokenProvider } from 'pgentra'

process.send((await new TokenProvider().get()).length)
process.disconnect()
