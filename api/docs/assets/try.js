// Sends signed requests. The secret is in memory alone, as keys that cannot be read out; see sign.js.
import { newNonce, signed, signingKeys } from './sign.js';

const $ = (id) => document.getElementById(id);
const day = (ago) => new Date(Date.now() - ago * 86_400_000).toISOString().slice(0, 10);
const scope = 'workspaceId={W}&mediumId={M}';
const presets = [
  ['List workspaces', 'GET', '/workspaces'],
  ['List channels', 'GET', '/channels'],
  ['List VIP users, the first 5', 'GET', `/vip-users?${scope}&limit=5`],
  ['List VIP messages, the newest 5', 'GET', `/vip-messages?${scope}&from={FROM}&to={TO}&limit=5`],
  ['Ask what an export of VIP users would come to', 'GET', `/vip-users/export?${scope}&dryRun=true`],
  ['Export VIP users', 'GET', `/vip-users/export?${scope}`, 'respond-async'],
  ['Export VIP messages', 'GET', `/vip-messages/export?${scope}&from={FROM}&to={TO}`, 'respond-async'],
  ['List exports', 'GET', '/exports?pageSize=5'],
  ['Look at an export', 'GET', '/exports/{JOB}'],
  ['Cancel an export', 'POST', '/exports/{JOB}/cancel'],
  ["Send a test to an export's callbackUrl", 'POST', '/exports/{JOB}/callback/test'],
  ['Show limits', 'GET', '/limits'],
  ['Another request', 'GET', '/'],
];
let holder = null; // {key, keys} once there is a key
let following = null; // AbortController of the job that is waited for

function fill() {
  const [, method, path, prefer] = presets[$('preset').value];
  $('method').value = method;
  $('path').value = path.replace(/\{([A-Z]+)\}/g, (_, id) => encodeURIComponent($(id).value));
  $('prefer').value = prefer ?? '';
  for (const field of document.querySelectorAll('[data-for]')) field.hidden = !path.includes(`{${field.dataset.for}}`);
  $('body-field').hidden = method === 'GET';
  if (method === 'GET') $('body').value = '';
}

// send signs and sends one request; it tells the page nothing.
async function send({ method, path, body = '', version = 2, prefer = '', signal }) {
  const url = new URL(path, location.origin);
  if (url.origin !== location.origin || !path.startsWith('/')) throw new Error('The path must begin with one / and be one of this service.');
  const request = { key: holder.key, date: new Date().toISOString(), nonce: newNonce(), method, url: url.href, body };
  const { headers, message } = await signed(holder.keys, version, request);
  if (prefer) headers.prefer = prefer;
  if (body) headers['content-type'] = 'application/json';
  const target = url.pathname + url.search;
  const limit = AbortSignal.timeout(45_000); // the service holds a request for 25 s
  const response = await fetch(url, {
    method, headers, body: body || undefined, signal: signal ? AbortSignal.any([signal, limit]) : limit,
    credentials: 'omit', cache: 'no-store', redirect: 'manual', referrerPolicy: 'no-referrer',
  });
  const text = await response.text();
  let json = null;
  try { json = JSON.parse(text); } catch { /* it is none */ }
  return { method, target, headers, body, message, response, text, json };
}

// why explains an answer that is none of success, as well as can be told from here.
function why({ response, json }) {
  const says = json?.message ?? (json?.error ?? []).map((f) => f.message).join('; ');
  const out = [`${response.status}${says ? `: ${says}` : ''}`];
  const skew = Math.round((Date.now() - Date.parse(response.headers.get('date'))) / 1000);
  if (response.status === 401) {
    if (says.startsWith('unknown API key')) out.push('There is no such key, or the secret is not its secret; the service does not say which. Look for spaces, and that it is not the webhook secret (whsec_...).');
    if (Math.abs(skew) > 4) out.push(`This computer's clock is ${Math.abs(skew)} s ${skew > 0 ? 'ahead of' : 'behind'} the service's: set it, as signatures are good for a minute.`);
  }
  if (response.status === 403) out.push("The key is right, but may not do this: see the scopes and addresses that it was made with.");
  if (response.status === 429) out.push(`Try again in ${response.headers.get('retry-after') ?? 'some'} s.`);
  return out;
}

function tell(kind, ...lines) {
  const p = document.createElement('p');
  p.className = kind;
  for (const [i, line] of lines.entries()) p.append(...(i ? [document.createElement('br')] : []), line);
  $('told').append(p);
  return p;
}

function show(exchange) {
  const { method, target, headers, body, message, response, text, json } = exchange;
  const head = response.type === 'opaqueredirect' ? ['a redirect, which is not followed here'] : [...response.headers].map(([name, value]) => `${name}: ${value}`);
  $('answer').textContent = [response.status || '3xx', '', json ? JSON.stringify(json, null, 2) : text, '', ...head].join('\n');
  $('sent').textContent = [`${method} ${target}`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`), '', body].join('\n');
  $('signed').textContent = message;
}

function link(job) {
  const a = Object.assign(document.createElement('a'), { className: 'button', rel: 'noreferrer', target: '_blank', textContent: 'Download the file' });
  if (/^https?:/.test(job.csvUrl)) a.href = job.csvUrl;
  return a;
}

// follow looks at a job until it has ended.
async function follow(id) {
  following = new AbortController();
  $('stop').hidden = false;
  const bar = Object.assign(document.createElement('progress'), { max: 100 });
  bar.setAttribute('aria-label', 'How much of the export is done');
  const line = tell('', `Job ${id} is queued.`);
  line.after(bar);
  try {
    for (;;) {
      const exchange = await send({ method: 'GET', path: `/exports/${id}`, prefer: 'wait=2', version: Number($('version').value), signal: following.signal });
      show(exchange);
      const job = exchange.json;
      if (exchange.response.status === 429 || exchange.response.status === 503) {
        const pause = Math.min(30, Number(exchange.response.headers.get('retry-after')) || 5);
        line.textContent = `The service is busy; looking again in ${pause} s.`;
        await new Promise((done) => setTimeout(done, 1000 * pause));
        continue;
      }
      if (!exchange.response.ok) return void tell('bad', ...why(exchange));
      line.textContent = `Job ${id} is ${job.state}: ${job.progress.rowsDone} rows, ${job.progress.percent} %.`;
      bar.value = job.progress.percent;
      if (job.state === 'queued' || job.state === 'running') continue;
      bar.remove();
      if (job.state === 'succeeded') tell('good', `${job.totalCount} rows, ${job.sizeBytes} bytes. `, link(job));
      else tell('bad', `The job ${job.state}${job.error ? `: ${job.error.code}, ${job.error.message}` : ''}.`);
      return;
    }
  } finally {
    bar.remove();
    $('stop').hidden = true;
    following = null;
  }
}

async function perform() {
  const exchange = await send({ method: $('method').value, path: $('path').value.trim(), body: $('body').value.trim(), version: Number($('version').value), prefer: $('prefer').value.trim() });
  show(exchange);
  const { response, json } = exchange;
  if (response.status >= 400) return void tell('bad', ...why(exchange));
  const id = json?.jobId ?? /^\/exports\/([a-z0-9]+)$/.exec(response.headers.get('content-location') ?? '')?.[1];
  if (id) $('JOB').value = id;
  if (response.status === 202 && id) return follow(id);
  if (json?.csvUrl) tell('good', `${json.totalCount} rows. `, link(json));
  else tell('good', `${response.status || 'A redirect'}.`);
}

// lookAround fills in what there is to export.
async function lookAround() {
  const workspaces = await send({ method: 'GET', path: '/workspaces' });
  if (workspaces.response.status === 403) return 'The key is right. It may not list workspaces: write the ids yourself.';
  if (!workspaces.response.ok) throw new Error(why(workspaces).join('. '));
  const channels = await send({ method: 'GET', path: '/channels' });
  const all = workspaces.json.workspaces;
  const names = (channels.json?.channels ?? []);
  $('workspaces').replaceChildren(...all.map((w) => new Option(w.name, w.id)));
  $('channels').replaceChildren(...names.map((c) => new Option(c.name, c.id)));
  const first = all.find((w) => w.isVip && w.channelIds.length > 0);
  if (first) [$('W').value, $('M').value] = [first.id, first.channelIds[0]];
  return `The key is right. Its org has ${all.length} workspaces and ${names.length} channels.`;
}

function say(kind, text) {
  $('holder').className = kind;
  $('holder').textContent = text;
}

function forget() {
  holder = null;
  following?.abort();
  $('secret').value = '';
  $('forget').hidden = true;
  $('request-form').hidden = $('outcome').hidden = true;
  $('secret').required = true;
  say('', '');
}

$('key-form').addEventListener('submit', async (e) => {
  e.preventDefault();
  const key = $('key').value.trim();
  const secret = $('secret').value.trim();
  forget();
  say('', 'Asking ...');
  try {
    holder = { key, keys: await signingKeys(secret) };
    const found = await lookAround();
    say('good', found);
    $('forget').hidden = $('request-form').hidden = false;
    $('secret').required = false;
    fill();
    $('preset').focus();
  } catch (e) {
    holder = null;
    say('bad', e.message);
  }
});
$('request-form').addEventListener('submit', async (e) => {
  e.preventDefault();
  following?.abort();
  $('told').replaceChildren();
  for (const id of ['answer', 'sent', 'signed']) $(id).textContent = '';
  $('outcome').hidden = false;
  e.submitter.disabled = true;
  try {
    await perform();
  } catch (e) {
    if (e.name === 'AbortError') tell('', 'Stopped waiting. The job goes on.');
    else tell('bad', e.name === 'TimeoutError' ? 'No answer within 45 s.' : e.name === 'TypeError' ? `The service could not be reached: ${e.message}` : e.message);
  } finally {
    e.submitter.disabled = false;
  }
});
$('stop').addEventListener('click', () => following?.abort());
$('forget').addEventListener('click', () => { forget(); $('key').focus(); });
for (const id of ['W', 'M', 'FROM', 'TO', 'JOB']) $(id).addEventListener('input', fill);
$('preset').addEventListener('change', fill);
$('method').addEventListener('change', () => ($('body-field').hidden = $('method').value === 'GET'));
addEventListener('pagehide', forget); // a page that is gone back to is not made anew

$('preset').append(...presets.map(([name], i) => new Option(name, i)));
[$('FROM').value, $('TO').value] = [day(7), day(0)];
$('key-form').hidden = false;
if (!globalThis.crypto?.subtle) {
  for (const field of $('key-form').querySelectorAll('input, button')) field.disabled = true;
  say('bad', 'Browsers sign on pages of https and of this machine alone, and this page is neither.');
}
