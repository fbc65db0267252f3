// Exports the messages of a day, yesterday's if DAY does not name another, to vip-messages-DAY.csv.
//
// For cron: it may be run again at any time. Within 24 h that is the same job, whose file is taken up where
// it stopped; where that job failed, another one is made.
//
//   15 2 * * *  cd /var/exports && node /opt/nightly.mjs
import { existsSync } from 'node:fs';
import { Client, ExportdError, FailedError, save } from 'exportd-client/node';

const { URL: baseUrl, KEY: key, SECRET: secret, W: workspaceId, M: mediumId } = process.env;
const day = process.env.DAY ?? new Date(Date.now() - 86_400_000).toISOString().slice(0, 10);
const file = `vip-messages-${day}.csv`;
if (existsSync(file)) process.exit(0); // whole, as it only has its name when it is

const client = new Client({ baseUrl, key, secret });
const request = { kind: 'vip-messages', params: { workspaceId, mediumId, from: day, to: day } };
try {
  const result = await client.export({ ...request, idempotencyKey: `nightly-${workspaceId}-${mediumId}-${day}` }).catch((e) => {
    if (!(e instanceof FailedError)) throw e;
    return client.export({ ...request, fresh: true }); // that key stays with the job that failed
  });
  await save(client, result.job, file);
  console.log(`${file} has ${result.totalCount} rows`);
} catch (e) {
  if (!(e instanceof ExportdError)) throw e;
  console.error(`${e.message} (job ${e.jobId})`);
  process.exitCode = 1;
}
