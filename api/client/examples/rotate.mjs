// Gives the key ROTATE a new secret, and prints it. KEY and SECRET are those of a key with the scope admin.
import { Client } from 'exportd-client';

const { URL: baseUrl, KEY: key, SECRET: secret, ROTATE: keyId } = process.env;
const client = new Client({ baseUrl, key, secret, signatureVersion: 2 });
const body = { secret: 'signing', overlapSeconds: 24 * 60 * 60, reason: 'yearly rotation' };
const rotated = await client.request('POST', `/admin/keys/${keyId}/rotate`, {}, body);
console.error('the old secret works until', rotated.oldSecretExpiresAt);
console.log(rotated.secret);
