// Receives callbacks, and saves the file of each export that has succeeded as KIND-JOB.csv.
//
// WEBHOOK_SECRET may have two secrets, with a comma between, while one replaces the other.
import { createServer } from 'node:http';
import { CallbackError, Client, save, verifyCallback } from 'exportd-client/node';

const maxBody = 1 << 20;
const { URL: baseUrl, KEY: key, SECRET: secret } = process.env;
const client = new Client({ baseUrl, key, secret });
const secrets = process.env.WEBHOOK_SECRET.split(',');
const seen = new Set(); // ids of the last 10,000 events; keep them in your database if an event must not be handled twice
let [work, waiting] = [Promise.resolve(), 0]; // one event after the other

async function bodyOf(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > maxBody) throw new CallbackError('the body is too long');
    chunks.push(chunk); // bytes, not text: the signature is over bytes
  }
  return Buffer.concat(chunks);
}

async function handle({ type, data }) {
  if (type !== 'export.succeeded') return console.log(type, data.jobId, data.error);
  const file = `${data.kind}-${data.jobId}.csv`;
  await save(client, await client.getJob(data.jobId), file);
  console.log(`${file} has ${data.totalCount} rows`);
}

async function receive(request) {
  const { id, event } = verifyCallback(request.headers, await bodyOf(request), secrets);
  if (seen.has(id)) return 204;
  if (waiting >= 1000) return 503; // it comes again
  seen.add(id);
  if (seen.size > 10_000) seen.delete(seen.values().next().value);
  waiting++;
  work = work.then(() => handle(event)).catch((e) => console.log(e.message)).finally(() => waiting--);
  return 204; // at once: the work comes afterwards
}

const server = createServer(async (request, response) => {
  const status = await receive(request).catch((e) => (e instanceof CallbackError ? 401 : 500));
  response.writeHead(status, { connection: status === 204 ? 'keep-alive' : 'close' }).end();
});
server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}/`));
