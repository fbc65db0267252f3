// For Node: all of index.ts, files, and receivers of callbacks.
export * from './index.js';
export { verifyCallback, type Callback, type CallbackHeaders, type VerifyOptions } from './callback.js';
export { partPath, save } from './save.js';
export { verify } from './verify.js';
