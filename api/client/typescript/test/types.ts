// What callers may write, and what the compiler must refuse. tsc reads it in TestTypeScript.
import { Client, type AnswerError, type Job } from '../src/index.js';
import { save, verifyCallback } from '../src/node.js';

export async function types(client: Client, signal: AbortSignal): Promise<void> {
  const result = await client.export(
    {
      kind: 'vip-messages',
      params: { workspaceId: 'w', mediumId: 'm', from: '2026-06-01', to: '2026-06-30', contentType: 'text', anyOther: 1 },
    },
    { signal, onProgress: (job: Job) => job.progress.percent.toFixed() },
  );
  const rows: number = result.totalCount;
  // @ts-expect-error there is no such profile
  await client.export({ kind: 'vip-users', params: { profile: 'exel' } });
  for await (const user of client.rows('vip-users')) user.personalInfo.city.toUpperCase();
  // @ts-expect-error users have no such member
  for await (const user of client.rows('vip-users')) user.nickname;
  for await (const row of client.rows('orders', { status: 'paid' })) row['number'];
  const { workspaces } = await client.get('/workspaces');
  workspaces[0]?.channelIds.join();
  // @ts-expect-error there is no such route
  await client.get('/workspace');
  await save(client, result.job, 'out.csv');
  const { event } = verifyCallback({}, new Uint8Array(), 'whsec_', { now: rows });
  const link: string | null = event.data.csvUrl;
  const code = (e: AnswerError): 'MISSING_INDEX' | boolean => (e.code === 'MISSING_INDEX' ? e.code : e.temporary);
  void [link, code];
}
