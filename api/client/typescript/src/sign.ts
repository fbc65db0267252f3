const text = new TextEncoder();

type Bytes = Uint8Array<ArrayBuffer>;

async function mac(key: Bytes, message: string): Promise<Bytes> {
  const imported = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  return new Uint8Array(await crypto.subtle.sign('HMAC', imported, text.encode(message)));
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}

async function sha256(body: string): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest('SHA-256', text.encode(body))));
}

/** Version 1 of the signature: HMAC-SHA256 of the exact bytes of a date, in lower-case hex. */
export async function sign(secret: string, date: string): Promise<string> {
  return hex(await mac(text.encode(secret), date));
}

/** What version 2 signs of a request, besides who asks. */
export interface SignedRequest {
  method: string;
  /** The URL that is sent. */
  url: string;
  body?: string | undefined;
}

/** Version 2: what a request asks for, where, when, and once. */
export async function signV2(secret: string, key: string, date: string, nonce: string, request: SignedRequest): Promise<string> {
  const url = new URL(request.url);
  const message = [
    'EXPORT-HMAC-V2',
    key,
    date,
    nonce,
    request.method,
    url.host,
    url.pathname,
    url.search.slice(1).split('&').sort(byBytes).join('&'), // proxies reorder the pairs
    await sha256(request.body ?? ''),
  ].join('\n');
  // A key of its own, so that a signature of one version is never one of the other.
  return hex(await mac(await mac(text.encode(secret), 'export-api/request-signing/v2'), message));
}

/** A URL is ASCII, where UTF-16's order is that of bytes. */
function byBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The headers of a request that is sent within a minute of now. Version 2 holds for this request, once. */
export async function signRequest(
  key: string,
  secret: string,
  now: Date,
  version: 1 | 2,
  request: SignedRequest,
): Promise<Record<string, string>> {
  const date = now.toISOString();
  if (version === 1) {
    return { 'x-api-key': key, 'x-date': date, 'x-signature': await sign(secret, date) };
  }
  const nonce = hex(crypto.getRandomValues(new Uint8Array(16)));
  return {
    'x-api-key': key,
    'x-date': date,
    'x-nonce': nonce,
    'x-signature-version': '2',
    'x-content-sha256': await sha256(request.body ?? ''),
    'x-signature': await signV2(secret, key, date, nonce, request),
  };
}
