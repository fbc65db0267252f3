// Run by npm test, and of a build elsewhere with EXPORTD_CLIENT_DIST, as TestTypeScript does.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFileSync, readdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

const dist = process.env.EXPORTD_CLIENT_DIST ?? fileURLToPath(new URL('../dist', import.meta.url));
const load = (name) => import(pathToFileURL(join(dist, name)).href);
const { Client, NetworkError, partPath, save } = await load('node.js');
const { extend, parse } = await load('crc32c.js');
const { Pauses } = await load('transport.js');

const jobId = 'abcdefghijklmnopqrstuvwxyz';
const nowhere = { baseUrl: 'http://127.0.0.1:1', key: 'k', secret: 's', attempts: 1 };
const finished = (csvUrl) => ({ jobId, state: 'succeeded', crc32c: 'AAAAAA==', sizeBytes: 3, csvUrl });

test('CRC-32C of RFC 3720, B.4, and of the usual digits', () => {
  const bytes = (n, f) => Uint8Array.from({ length: n }, (_, i) => f(i));
  for (const [data, want] of [
    [new Uint8Array(), 0],
    [new TextEncoder().encode('123456789'), 0xe3069283],
    [bytes(32, () => 0), 0x8a9136aa],
    [bytes(32, () => 255), 0x62a8ab43],
    [bytes(32, (i) => i), 0x46dd794e],
  ]) {
    assert.equal(extend(0, data), want);
    for (let cut = 0; cut <= data.length; cut++) assert.equal(extend(extend(0, data.subarray(0, cut)), data.subarray(cut)), want);
  }
  assert.equal(parse('4waSgw=='), 0xe3069283);
  for (const none of ['', '4waSgw', '4waSgwAA', '%%%%%%==']) assert.equal(parse(none), undefined);
});

test('pauses double up to a bound', () => {
  const pauses = new Pauses();
  for (const want of [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]) {
    const pause = pauses.next();
    assert.ok(pause >= want / 2 && pause <= want * 1.5, `${pause} for ${want}`);
  }
  pauses.reset();
  assert.ok(pauses.next() <= 750);
});

test('the part for browsers needs nothing of Node', () => {
  const seen = new Set();
  const follow = (file) => {
    if (seen.has(file)) return;
    seen.add(file);
    const source = readFileSync(file, 'utf8');
    assert.ok(!/\b(Buffer|process|require)\b[.(]/.test(source), `${file} has something of Node`);
    for (const [, from] of source.matchAll(/\bfrom '([^']+)'/g)) {
      assert.ok(from.startsWith('./'), `${file} imports ${from}`);
      follow(resolve(dirname(file), from));
    }
  };
  follow(join(dist, 'index.js'));
  assert.ok(seen.size >= 6 && seen.size < readdirSync(dist).filter((f) => f.endsWith('.js')).length);
});

test('nothing shows a link, which is a secret', async () => {
  for (const link of ['http://127.0.0.1:1/f?X-Goog-Signature=hidden', 'http://[?hidden', 'x:hidden', 'http://a b/?hidden']) {
    const error = await assert.rejects(
      async () => {
        for await (const _ of new Client(nowhere).download(finished(link)));
      },
      (e) => {
        assert.ok(e instanceof NetworkError, String(e));
        assert.ok(!`${e.stack} ${JSON.stringify(e)} ${e.cause}`.includes('hidden'), e.stack);
        return true;
      },
    );
    assert.equal(error, undefined);
  }
});

test('nothing shows a secret', () => {
  const client = new Client({ ...nowhere, secret: 'the-secret' });
  assert.ok(!JSON.stringify(client).includes('the-secret'));
});

test('a part file is for its owner', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'client-'));
  try {
    const path = join(folder, 'out.csv');
    await assert.rejects(save(new Client(nowhere), finished('http://127.0.0.1:1/'), path), NetworkError);
    assert.equal(statSync(partPath(path, jobId)).mode & 0o777, 0o600);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

async function served(listener, run) {
  const server = createServer(listener);
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  try {
    await run(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
}

/** A service that never has done with a job. */
function endless(run) {
  return served((request, response) => {
    response.setHeader('location', `/exports/${jobId}`);
    response.writeHead(request.url.startsWith('/exports/') ? 200 : 202, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jobId, state: 'running' }));
  }, run);
}

test('a signal ends waiting, and its reason comes out', async () => {
  await endless(async (baseUrl) => {
    const stop = new AbortController();
    const client = new Client({ ...nowhere, baseUrl });
    const waiting = client.wait(jobId, { signal: stop.signal, onProgress: () => stop.abort(new Error('no time')) });
    await assert.rejects(waiting, /no time/);
    await assert.rejects(client.export({ kind: 'vip-users' }, { signal: AbortSignal.abort(new Error('never')) }), /never/);
  });
});

test('a signal ends a pause between attempts', async () => {
  const stop = new AbortController();
  const sleep = (ms, signal) => {
    queueMicrotask(() => stop.abort(new Error('no time')));
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  };
  const client = new Client({ ...nowhere, attempts: 10, sleep });
  await assert.rejects(client.wait(jobId, { signal: stop.signal }), /no time/);
});

test('a signal ends a download that has begun', async () => {
  let rest;
  const listener = (_, response) => {
    response.writeHead(200, { 'content-length': 3 }).write('ab');
    rest = () => response.end('c');
  };
  await served(listener, async (url) => {
    const stop = new AbortController();
    const arrived = [];
    const download = async () => {
      for await (const chunk of new Client(nowhere).download(finished(url), { signal: stop.signal })) {
        arrived.push(Buffer.from(chunk).toString());
        stop.abort(new Error('no time'));
        rest();
      }
    };
    await assert.rejects(download, /^Error: no time$/);
    assert.deepEqual(arrived, ['ab']);
  });
});

test('what onProgress throws comes out', async () => {
  const enough = new Error('enough');
  const onProgress = () => {
    throw enough;
  };
  await served((_, response) => response.end('abc'), async (url) => {
    const download = async () => {
      for await (const _ of new Client(nowhere).download(finished(url), { onProgress }));
    };
    await assert.rejects(download, (e) => e === enough);
  });
});
