// A receiver of export callbacks that verifies each of them. Node 18 or newer,
// standard library alone. Run it with the secret of your key:
//
//   WEBHOOK_SECRET=whsec_... node receiver.mjs
//
// It prints the address it listens on. Copy verify; the rest is an example.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

const toleranceSeconds = 5 * 60; // older or newer requests may be replays
const maxBody = 1 << 20;

/** Throws unless body (a Buffer, byte for byte as it came) was signed with secret. */
export function verify(secret, headers, body, nowSeconds) {
  const id = headers['webhook-id'];
  const stamp = headers['webhook-timestamp'];
  if (!secret.startsWith('whsec_')) throw new Error('the secret does not start with whsec_');
  const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
  if (key.length < 24) throw new Error('the secret is too short');
  if (!id || !/^\d+$/.test(stamp ?? '')) throw new Error('webhook-id or webhook-timestamp is missing');
  if (Math.abs(nowSeconds - Number(stamp)) > toleranceSeconds) throw new Error('webhook-timestamp is too far from now');

  const want = createHmac('sha256', key).update(`${id}.${stamp}.`).update(body).digest();
  // There are several signatures while a secret is being rotated.
  for (const signature of (headers['webhook-signature'] ?? '').split(' ')) {
    if (!signature.startsWith('v1,')) continue;
    const got = Buffer.from(signature.slice('v1,'.length), 'base64');
    if (got.length === want.length && timingSafeEqual(got, want)) return;
  }
  throw new Error('no signature matches');
}

const server = createServer(async (request, response) => {
  const chunks = [];
  let size = 0;
  try {
    for await (const chunk of request) {
      size += chunk.length;
      if (size > maxBody) throw new Error('the body is too long');
      chunks.push(chunk); // bytes, not text: the signature is over bytes
    }
    verify(process.env.WEBHOOK_SECRET ?? '', request.headers, Buffer.concat(chunks), Date.now() / 1000);
  } catch {
    response.writeHead(401).end();
    return;
  }
  // Remember webhook-id: the same event may come again. Answer at once with
  // 2xx and do the work afterwards; 15 s after the call it counts as failed.
  response.writeHead(204).end();
});

server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/`);
});
