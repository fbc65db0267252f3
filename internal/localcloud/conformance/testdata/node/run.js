'use strict';
// node run.js SERVICE [NAME...]: makes the calls of SERVICE.js, all or those of these names, some at a time, on
// what FIRESTORE_EMULATOR_HOST and its like name. A line of JSON on standard output has what came
// of each.

const grpc = ['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS',
  'PERMISSION_DENIED', 'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED',
  'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS', 'UNAUTHENTICATED'];

// failure is an error as the table has it: the name of a code of gRPC or the number of one of HTTP, or what
// the client calls an error of its own.
function failure(err) {
  const code = typeof err?.code === 'number' ? grpc[err.code] ?? err.code : err?.code ?? err?.name ?? 'Error';
  return {error: code, message: String(err?.message ?? err)};
}

// within bounds a call: one that a server leaves without an answer is a finding, not the end of the others.
const limit = 20_000;
async function within(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(Object.assign(new Error(`no answer within ${limit} ms`), {code: 'LATE'})), limit);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// together is how many rows are under way: a client waits for seconds before it tells of some refusals.
const together = 8;

async function main() {
  const [service, ...names] = process.argv.slice(2);
  const {rows} = require(`./${service}.js`);
  const queue = Object.entries(rows).map(([name, row], i) => [`r${i}`, name, row]).filter(([, name]) => names.length === 0 || names.includes(name));
  const work = async () => {
    for (let next; (next = queue.shift()); ) await make(...next);
  };
  await Promise.all(Array.from({length: together}, work));
}

async function make(id, name, row) {
  const began = process.hrtime.bigint();
  let got;
  try {
    got = (await within(row(id))) ?? null;
  } catch (err) {
    got = failure(err);
  }
  const ms = Number((process.hrtime.bigint() - began) / 1_000_000n);
  process.stdout.write(JSON.stringify({name, got, ms}) + '\n');
}

// An error of a stream that a row has left is not the end of the others; one that a row waits for leaves it LATE.
process.on('uncaughtException', err => console.error(err));

// What a row left open, as a stream that was broken off, must not keep the process.
main().then(() => process.exit(0), err => {
  console.error(err);
  process.exit(1);
});
