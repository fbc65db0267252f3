import { createHmac, timingSafeEqual } from 'node:crypto';

import { CallbackError } from './errors.js';
import type { components } from './openapi.js';

/** What the service sends when an export has ended. */
export interface Callback {
  /** The same each time one event is sent: who has it already has seen the event. */
  id: string;
  event: components['schemas']['Event'];
}

/** Headers as Node's http has them, or those of fetch's Request. */
export type CallbackHeaders = Headers | Record<string, string | string[] | undefined>;

export interface VerifyOptions {
  /** Seconds since 1970; now if left out. */
  now?: number;
  /** Seconds that a callback may be from now, 300 if left out: older ones may be replays. */
  tolerance?: number;
}

/** The least that Standard Webhooks allows. */
const minSecret = 24;

/**
 * Reads a callback whose body, byte for byte as it came, is signed by one of the webhook secrets of a key:
 * two while one replaces the other. Answer with 2xx within 15 s and do the work afterwards; the same id may
 * come again. Throws CallbackError, and TypeError for a secret that is none.
 */
export function verifyCallback(headers: CallbackHeaders, body: Uint8Array, secrets: string | string[], options: VerifyOptions = {}): Callback {
  const id = header(headers, 'webhook-id');
  const stamp = header(headers, 'webhook-timestamp');
  if (!id || !/^\d{1,12}$/.test(stamp)) throw new CallbackError('webhook-id or webhook-timestamp is missing');
  const signatures = header(headers, 'webhook-signature').split(' ').map((s) => Buffer.from(s));
  let signed = false;
  for (const secret of typeof secrets === 'string' ? [secrets] : secrets) {
    const mac = createHmac('sha256', keyOf(secret)).update(`${id}.${stamp}.`).update(body).digest('base64');
    const want = Buffer.from(`v1,${mac}`);
    for (const s of signatures) signed = (s.length === want.length && timingSafeEqual(s, want)) || signed;
  }
  if (!signed) throw new CallbackError('no signature matches');
  const { now = Date.now() / 1000, tolerance = 300 } = options;
  if (Math.abs(now - Number(stamp)) > tolerance) throw new CallbackError('webhook-timestamp is too far from now');
  let event: Callback['event'] | null = null;
  try {
    event = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    // no event
  }
  if (!event?.data?.jobId) throw new CallbackError('the body is no event');
  return { id, event };
}

function header(headers: CallbackHeaders, name: string): string {
  const value = headers instanceof Headers ? headers.get(name) : headers[name];
  return typeof value === 'string' ? value : '';
}

function keyOf(secret: string): Buffer {
  const [, text = ''] = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret) ?? [];
  const key = Buffer.from(text, 'base64');
  if (key.length < minSecret) throw new TypeError('a webhook secret is whsec_ and base64 of 24 bytes or more');
  return key;
}
