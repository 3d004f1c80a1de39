// Forked by processes.test.mjs: sends the length of its token.
import { TokenProvider } from 'pgentra'

process.send((await new TokenProvider().get()).length)
process.disconnect()
