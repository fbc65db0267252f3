// Does the cases of ../../testdata/cases.json that come on standard input, and says what came of each. The
// client is in the folder of the first argument, the server that answers as the cases say at the address in
// the second: TestTypeScript starts both.
import { mkdtempSync, readFileSync, rmSync, existsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [dist, server] = process.argv.slice(2);
const lib = await import(pathToFileURL(join(dist, 'node.js')).href);

const calls = { export: exported, resume: exported, submit, cancel, delete: remove, save, quote, manifest, verifyFile, rows: list, jobs: list };

const cases = JSON.parse(readFileSync(0, 'utf8'));
for (const [number, { name, call, answers }] of cases.cases.entries()) {
  const clock = { at: Date.parse(cases.clock), waited: 0 }; // waiting takes no time
  const outcome = {};
  try {
    // For what stands still, a server on a busy machine must not be taken.
    const within = answers?.some((a) => a.stall) ? 500 : 60_000;
    await run(call, within, `${server}/case/${number}`, clock, outcome);
  } catch (e) {
    if (!(e instanceof lib.ExportdError || e instanceof TypeError)) throw e;
    outcome.error = tell(e);
  }
  console.log(JSON.stringify({ name, outcome: told(outcome), waited: clock.waited / 1000 }));
}

async function run(call, within, baseUrl, clock, out) {
  switch (call.do) {
    case 'sign':
      out.signature = await lib.sign(call.secret, call.date);
      return;
    case 'sign2':
      out.signature = await lib.signV2(call.secret, call.key, call.date, call.nonce, { method: call.method, url: call.url, body: call.body });
      return;
    case 'verify': {
      const got = lib.verifyCallback(call.headers, Buffer.from(call.body), call.secrets, { now: call.now });
      Object.assign(out, { id: got.id, type: got.event.type, jobId: got.event.data.jobId, rows: got.event.data.totalCount });
      return;
    }
    case 'new':
      new lib.Client({ baseUrl: 'https://api.test', key: 'k', secret: 's', ...call });
      out.made = true;
      return;
  }
  const client = new lib.Client({
    baseUrl,
    key: cases.key,
    secret: cases.secret,
    ...(call.signatureVersion && { signatureVersion: call.signatureVersion }),
    ...(call.attempts && { attempts: call.attempts }),
    answerWithin: within,
    stallAfter: within,
    now: () => new Date(clock.at),
    sleep: async (ms) => {
      clock.at += ms;
      clock.waited += ms;
    },
  });
  await calls[call.do](client, call, out);
}

async function exported(client, call, out) {
  const states = [];
  const onProgress = call.progress ? (job) => states.push(job.state) : undefined;
  const result = call.do === 'resume' ? client.resultOf(await client.wait(call.jobId)) : await client.export(call, { onProgress });
  const chunks = [];
  for await (const chunk of client.download(result.job)) chunks.push(chunk);
  Object.assign(out, { rows: result.totalCount, jobId: result.job.jobId, file: Buffer.concat(chunks).toString() });
  if (states.length > 0) out.states = states;
}

async function submit(client, call, out) {
  const job = await client.submit(call);
  Object.assign(out, { jobId: job.jobId, state: job.state });
}

async function cancel(client, call, out) {
  const job = await client.cancel(call.jobId, call.reason);
  Object.assign(out, { jobId: job.jobId, state: job.state });
}

async function remove(client, call, out) {
  await client.delete(call.jobId);
  out.deleted = true;
}

async function save(client, call, out) {
  const job = await client.wait(call.jobId);
  const folder = mkdtempSync(join(tmpdir(), 'cases-'));
  try {
    const path = join(folder, 'out.csv');
    const part = lib.partPath(path, call.jobId);
    if (call.part !== undefined) writeFileSync(part, call.part);
    try {
      await lib.save(client, job, path);
    } finally {
      if (existsSync(path)) out.file = readFileSync(path, 'utf8');
      if (existsSync(part)) out.left = readFileSync(part, 'utf8');
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function manifest(client, call, out) {
  const m = await client.manifest(call.jobId);
  Object.assign(out, { rows: m.rows, columns: m.tableSchema.columns.map((c) => c.name), without: m.withoutSortField });
}

async function verifyFile(client, call, out) {
  const folder = mkdtempSync(join(tmpdir(), 'cases-'));
  try {
    const path = join(folder, 'out.csv');
    writeFileSync(path, call.part);
    out.broken = (await lib.verify(client, call.jobId, path)).map((part) => part.offset);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function quote(client, call, out) {
  const q = await client.quote(call);
  Object.assign(out, {
    rows: q.rows,
    bytes: q.estimatedBytes,
    seconds: q.estimatedSeconds,
    ahead: q.jobsAhead,
    attachesTo: q.attachesTo.jobId,
    refusals: q.refusals.map((r) => r.code),
  });
}

async function list(client, call, out) {
  out.ids = [];
  const rows = call.do === 'jobs' ? client.jobs(call.params) : client.rows(call.kind, call.params);
  for await (const row of rows) out.ids.push(row.id ?? row.jobId);
}

function tell(e) {
  const kinds = { AnswerError: 'answer', FailedError: 'failed', NetworkError: 'network', CorruptError: 'corrupt', ChangedError: 'corrupt', NoFileError: 'noFile', CallbackError: 'callback' };
  const out = { kind: kinds[e.name] ?? 'other', says: e.message, jobId: e.jobId };
  if (e instanceof lib.AnswerError) {
    const { code, retryable, state, requestId, retryAfter, runningJobIds, budget, faults } = e.details;
    Object.assign(out, { status: e.status, code, retryable, state, requestId, retryAfter, budget });
    if (runningJobIds.length > 0) out.running = runningJobIds;
    if (faults.length > 0) out.faults = faults.map((f) => `${f.type} ${f.path.join('.')}`);
  }
  if (e instanceof lib.FailedError) {
    Object.assign(out, { state: e.job.state, code: e.job.error?.code, retryable: e.job.error?.retryable });
  }
  return told(out);
}

function told(members) {
  return Object.fromEntries(Object.entries(members).filter(([, v]) => ![undefined, null, '', 0, false].includes(v)));
}
