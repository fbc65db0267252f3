// Signs requests as the clients do, by WebCrypto. Keys are imported such that they cannot be read out again.
const text = new TextEncoder();
const hex = (bytes) => Array.from(new Uint8Array(bytes), (b) => b.toString(16).padStart(2, '0')).join('');
const hmac = { name: 'HMAC', hash: 'SHA-256' };
const mac = (key, message) => crypto.subtle.sign('HMAC', key, text.encode(message));

// signingKeys are those of both versions of the signature, made of a secret.
export async function signingKeys(secret) {
  const v1 = await crypto.subtle.importKey('raw', text.encode(secret), hmac, false, ['sign']);
  const v2 = await crypto.subtle.importKey('raw', await mac(v1, 'export-api/request-signing/v2'), hmac, false, ['sign']);
  return { v1, v2 };
}

// signed gives the headers of a request, and what they sign.
export async function signed(keys, version, { key, date, nonce, method, url, body = '' }) {
  const headers = { 'x-api-key': key, 'x-date': date };
  let message = date;
  if (version === 2) {
    const { host, pathname, search } = new URL(url);
    const content = hex(await crypto.subtle.digest('SHA-256', text.encode(body)));
    Object.assign(headers, { 'x-signature-version': '2', 'x-nonce': nonce, 'x-content-sha256': content });
    // By byte: what is sent is ASCII, so that JavaScript's order is that.
    const pairs = search.slice(1).split('&').sort().join('&');
    message = ['EXPORT-HMAC-V2', key, date, nonce, method, host.toLowerCase(), pathname, pairs, content].join('\n');
  }
  return { headers: { ...headers, 'x-signature': hex(await mac(version === 2 ? keys.v2 : keys.v1, message)) }, message };
}

// newNonce has 128 random bits.
export const newNonce = () => hex(crypto.getRandomValues(new Uint8Array(16)));
