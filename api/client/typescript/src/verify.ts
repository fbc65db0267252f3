import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';

import type { Client, FilePart } from './client.js';
import { extend, parse } from './crc32c.js';

/**
 * Compares a file with what the service wrote as the job's, part by part, and gives those that differ: a Range
 * of their bytes brings them again. It goes by the SHA-256 of parts, and by the CRC-32C of those that have none.
 * What follows the last part counts as of it.
 */
export async function verify(client: Client, jobId: string, path: string, options: { signal?: AbortSignal } = {}): Promise<FilePart[]> {
  const file = await open(path);
  try {
    const { parts } = await client.manifest(jobId, options);
    const broken: FilePart[] = [];
    for (const part of parts) {
      const last = part === parts.at(-1);
      if (!(await isWhole(file, part, options.signal)) || (last && (await file.stat()).size > part.offset + part.sizeBytes)) broken.push(part);
    }
    return broken;
  } finally {
    await file.close();
  }
}

async function isWhole(file: FileHandle, part: FilePart, signal?: AbortSignal): Promise<boolean> {
  const buffer = Buffer.alloc(Math.min(256 << 10, part.sizeBytes));
  const hash = createHash('sha256');
  let crc = 0;
  for (let at = 0; at < part.sizeBytes; ) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, part.sizeBytes - at), part.offset + at);
    if (bytesRead === 0) return false;
    const bytes = buffer.subarray(0, bytesRead);
    if (part.sha256 === null) crc = extend(crc, bytes);
    else hash.update(bytes);
    at += bytesRead;
  }
  return part.sha256 === null ? crc === parse(part.crc32c) : hash.digest('hex') === part.sha256;
}
