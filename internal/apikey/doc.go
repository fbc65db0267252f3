// Package apikey says who a request comes from: it reads the three signature headers (x-api-key, x-date,
// x-signature), finds the key's record in Firestore and compares signatures.
//
// The order of checks is fixed, because it decides what a stranger can learn: form of the headers, then the
// date, then the look-up, then the signature, then the key's state. Nothing before the look-up depends on the
// key; from the look-up on there is one answer, and the same work is done, whether the key is unknown,
// disabled or expired or the signature is wrong.
//
// What version 1 of the signature cannot do: it proves that somebody knew the key at a moment, not what they
// asked for. Whoever captures the three headers can use them for any call until the date is too old. Version
// 2 (x-signature-version, x-nonce, x-content-sha256) signs method, host, path, query and body, and works
// once; a key's record may require it.
package apikey
