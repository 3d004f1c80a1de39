'use strict'

// Uses the installed npm package once: the addon loads and derives a role from a token.
//   node smoke.cjs    in a folder in which `npm install` installed the packages

const { createRequire } = require('node:module')
const path = require('node:path')
const installed = createRequire(path.join(process.cwd(), 'index.js'))
const { TokenProvider } = installed('pgentra')
const { StaticTokenCredential } = installed('pgentra/identity')

async function main() {
  const encoded = (document) => Buffer.from(JSON.stringify(document)).toString('base64url')
  const claims = { upn: 'anna@contoso.example', exp: 4_000_000_000, oid: 'o', tid: 't' }
  const token = `${encoded({ alg: 'none' })}.${encoded(claims)}.x`
  const provider = new TokenProvider(new StaticTokenCredential(token), { managementLookup: false })
  const { user } = await provider.login()
  if (user !== 'anna@contoso.example') throw new Error(`the role is ${user}`)
  console.log(`pgentra ${installed('pgentra/package.json').version} on ${process.platform} ${process.version}`)
}
main()
