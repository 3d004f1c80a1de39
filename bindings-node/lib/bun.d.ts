export * from './index.js'
export * from './identity.js'
