// Everything that runs in browsers too.
export * from './client.js';
export type { Download, DownloadOptions } from './download.js';
export * from './errors.js';
export type { components, operations, paths } from './openapi.js';
export { sign, signRequest, signV2, type SignedRequest } from './sign.js';
