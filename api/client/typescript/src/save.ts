import { open, rename, unlink, type FileHandle } from 'node:fs/promises';
import { constants } from 'node:fs';

import type { Client } from './client.js';
import { extend } from './crc32c.js';
import type { Download, DownloadOptions } from './download.js';
import { ChangedError, CorruptError, type Job } from './errors.js';

/** Where save keeps an incomplete file. */
export function partPath(path: string, jobId: string): string {
  return `${path}.${jobId}.part`;
}

/**
 * Downloads the file of a succeeded job to path. What has arrived is in partPath until the file is complete
 * and checked, and a later save goes on there; path itself is only ever a whole file. A file that is there is
 * replaced. Where the beginning turns out to be of another file, it begins once more, from the start.
 */
export async function save(client: Client, job: Job, path: string, options: DownloadOptions = {}): Promise<void> {
  const download = client.openDownload(job, options); // before there is a part file: has it a file?
  const part = partPath(path, job.jobId);
  // Personal data: for the caller alone.
  const file = await open(part, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    await takeUp(download, file);
    const resumed = download.done > 0;
    try {
      await write(download, file);
    } catch (e) {
      // A part file that is not a beginning of this file shows in the checksum.
      if (!(e instanceof ChangedError || (e instanceof CorruptError && resumed))) throw e;
      download.restart();
      await file.truncate(0);
      await write(download, file);
    }
    await file.sync();
  } catch (e) {
    if (e instanceof CorruptError) await unlink(part);
    throw e;
  } finally {
    await file.close();
  }
  await rename(part, path);
}

async function write(download: Download, file: FileHandle): Promise<void> {
  let at = download.done;
  for await (const chunk of download.bytes()) {
    for (let written = 0; written < chunk.length; ) {
      const { bytesWritten } = await file.write(chunk, written, chunk.length - written, at);
      written += bytesWritten;
      at += bytesWritten;
    }
  }
}

/** Counts and sums what an earlier run had of the file. */
async function takeUp(download: Download, file: FileHandle): Promise<void> {
  const buffer = Buffer.alloc(256 << 10);
  while (download.done < download.total) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, download.total - download.done), download.done);
    if (bytesRead === 0) break;
    download.crc = extend(download.crc, buffer.subarray(0, bytesRead));
    download.done += bytesRead;
  }
  await file.truncate(download.done);
}
