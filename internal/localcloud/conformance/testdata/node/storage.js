'use strict';
const fs = require('node:fs/promises');
const os = require('node:os');
const path = require('node:path');
const {generateKeyPairSync} = require('node:crypto');
const zlib = require('node:zlib');
const {request} = require('gaxios');
const {Storage, TransferManager} = require('@google-cloud/storage');

const storage = new Storage({projectId: 'demo-clients'});

// made is a bucket of a row's own.
const bucketName = id => `rows-${id}-demo`;
const made = async (id, metadata) => (await storage.createBucket(bucketName(id), metadata))[0];

const text = async file => (await file.download())[0].toString();
const meta = async file => (await file.getMetadata())[0];
const names = files => files.map(f => f.name);
const five = async bucket => {
  await Promise.all(['a', 'b', 'dir/c', 'dir/d', 'dir/sub/e'].map(n => bucket.file(n).save(n)));
  return bucket;
};

// twice is a bucket that keeps versions, with an object that was written twice.
async function twice(id) {
  const bucket = await made(id, {versioning: {enabled: true}});
  const of = async data => {
    await bucket.file('a').save(data);
    return bucket.file('a', {generation: (await meta(bucket.file('a'))).generation});
  };
  return {bucket, one: await of('one'), two: await of('two')};
}

// on is an event of a stream that ends with it or with an error.
const on = (stream, event) => new Promise((resolve, reject) => stream.on(event, resolve).on('error', reject));

// folder gives a folder of its own on the disk while f runs.
async function folder(f) {
  const dir = await fs.mkdtemp(path.join(os.tmpdir(), 'rows-'));
  try {
    return await f(dir);
  } finally {
    await fs.rm(dir, {recursive: true});
  }
}

// big has more than one chunk of 256 KiB, and no two parts of it are alike.
const big = Buffer.alloc(1_000_000, 0);
for (let i = 0; i < big.length; i += 4) big.writeUInt32LE(i, i);

// parts has two parts of the least size and one below it.
const parts = Buffer.concat(Array.from({length: 11}, () => big)).subarray(0, (10 << 20) + 7);

// The client sends the parts of a file to https://BUCKET.HOST, without the port of an emulator: reached leads
// them to where it is, and says who asks, which the client leaves out in some requests.
const virtual = bucket => `https://${bucket.name}.${new URL(bucket.storage.apiEndpoint).hostname}`;
function reached(bucket) {
  const own = new Storage({projectId: 'demo-clients'}).bucket(bucket.name);
  own.storage.authClient.request = opts => request({
    ...opts, headers: {...opts.headers, authorization: 'Bearer any'}, url: opts.url.replace(virtual(own), `${process.env.STORAGE_EMULATOR_HOST}/${own.name}`),
  });
  return own;
}
const begun = async (bucket, name) => /<UploadId>(.*)<\/UploadId>/.exec((await bucket.storage.authClient.request({url: `${virtual(bucket)}/${name}?uploads`, method: 'POST'})).data)[1];
const open = async bucket => (await bucket.storage.authClient.request({url: `${virtual(bucket)}?uploads`})).data;

const rows = {
  // Buckets.
  'createBucket': async id => {
    const [m] = await (await made(id)).getMetadata();
    return [m.name === bucketName(id), m.storageClass, m.metageneration, m.timeCreated === m.updated];
  },
  'createBucket of what is there': async id => {
    await made(id);
    await made(id);
  },
  'createBucket of a name that is none': () => storage.createBucket('No').then(() => 'done'),
  'createBucket with settings': async id => {
    const bucket = await made(id, {storageClass: 'NEARLINE', labels: {a: 'b'}, iamConfiguration: {uniformBucketLevelAccess: {enabled: true}}});
    const [m] = await bucket.getMetadata();
    return [m.storageClass, m.labels, m.iamConfiguration.uniformBucketLevelAccess.enabled];
  },
  'bucket exists': async id => [(await (await made(id)).exists())[0], (await storage.bucket(`none-${id}`).exists())[0]],
  'getMetadata of no bucket': id => storage.bucket(`none-${id}`).getMetadata().then(() => 'done'),
  'getBuckets': async id => {
    for (const part of ['x', 'y', 'z']) await storage.createBucket(`list-${id}-${part}`);
    const [all] = await storage.getBuckets({prefix: `list-${id}-`});
    const [page] = await storage.getBuckets({prefix: `list-${id}-`, maxResults: 2, autoPaginate: false});
    return [names(all).map(n => n.slice(-1)), page.length];
  },
  'setMetadata of a bucket': async id => {
    const bucket = await made(id, {labels: {gone: 'x', kept: 'y'}});
    await bucket.setLabels({a: 'b'});
    await bucket.deleteLabels('gone');
    return (await bucket.getLabels())[0];
  },
  'addLifecycleRule': async id => {
    const bucket = await made(id);
    await bucket.addLifecycleRule({action: {type: 'Delete'}, condition: {age: 3}});
    return (await bucket.getMetadata())[0].lifecycle.rule;
  },
  'delete a bucket': async id => {
    const bucket = await made(id);
    await bucket.delete();
    return (await bucket.exists())[0];
  },
  'delete a bucket with objects': async id => (await five(await made(id))).delete(),
  'deleteFiles': async id => {
    const bucket = await five(await made(id));
    await bucket.deleteFiles({prefix: 'dir/'});
    return names((await bucket.getFiles())[0]);
  },

  // Uploads.
  'save': async id => {
    const file = (await made(id)).file('a');
    await file.save('hello');
    return text(file);
  },
  'save in one request': async id => {
    const file = (await made(id)).file('a');
    await file.save('hello', {resumable: false, contentType: 'text/plain', metadata: {cacheControl: 'no-store', metadata: {k: 'v'}}});
    const m = await meta(file);
    return [await text(file), m.contentType, m.cacheControl, m.metadata];
  },
  'save nothing': async id => {
    const bucket = await made(id);
    await bucket.file('a').save('');
    await bucket.file('b').save('', {resumable: false});
    return [await text(bucket.file('a')), await text(bucket.file('b')), (await meta(bucket.file('a'))).size];
  },
  'save what is large': async id => {
    const file = (await made(id)).file('a');
    await file.save(big);
    return big.equals((await file.download())[0]);
  },
  'save in chunks': async id => {
    const file = (await made(id)).file('a');
    await file.save(big, {chunkSize: 256 * 1024});
    return [big.equals((await file.download())[0]), (await meta(file)).size];
  },
  'save again': async id => {
    const file = (await made(id)).file('a');
    await file.save('one');
    const before = await meta(file);
    await file.save('two');
    const after = await meta(file);
    return [await text(file), BigInt(after.generation) > BigInt(before.generation), after.metageneration];
  },
  'save with an MD5': async id => {
    const file = (await made(id)).file('a');
    await file.save('hello', {validation: 'md5'});
    const m = await meta(file);
    return [m.md5Hash, m.crc32c, m.size];
  },
  'save with a checksum that is wrong': async id => (await made(id)).file('a').save('hello', {resumable: false, metadata: {crc32c: 'AAAAAA=='}}),
  'createWriteStream': async id => {
    const file = (await made(id)).file('a');
    const stream = file.createWriteStream();
    stream.write('hel');
    stream.end('lo');
    await on(stream, 'finish');
    return text(file);
  },
  'createWriteStream in one request': async id => {
    const file = (await made(id)).file('a');
    const stream = file.createWriteStream({resumable: false});
    stream.end('hello');
    await on(stream, 'finish');
    return text(file);
  },
  'createWriteStream of no known length': async id => {
    const file = (await made(id)).file('a');
    const stream = file.createWriteStream({chunkSize: 256 * 1024});
    for (let i = 0; i < big.length; i += 99_999) stream.write(big.subarray(i, i + 99_999));
    stream.end();
    await on(stream, 'finish');
    return big.equals((await file.download())[0]);
  },
  'createResumableUpload and resume': async id => {
    const file = (await made(id)).file('a');
    const [uri] = await file.createResumableUpload();
    await fetch(uri, {method: 'PUT', headers: {'Content-Range': `bytes 0-262143/${big.length}`}, body: big.subarray(0, 262144)});
    await file.save(big, {uri, offset: 262144, resumable: true}).catch(async () => {
      const stream = file.createWriteStream({uri, offset: 262144, resumable: true, validation: false, isPartialUpload: false});
      stream.end(big.subarray(262144));
      await on(stream, 'finish');
    });
    return big.equals((await file.download())[0]);
  },
  'gzip on the way': async id => {
    const file = (await made(id)).file('a');
    await file.save('hello', {gzip: true, resumable: false});
    const m = await meta(file);
    return [m.contentEncoding, await text(file), zlib.gunzipSync((await file.download({decompress: false}))[0]).toString()];
  },
  'bucket.upload': async id => folder(async dir => {
    await fs.writeFile(path.join(dir, 'a.csv'), 'a,b\n');
    const [file] = await (await made(id)).upload(path.join(dir, 'a.csv'), {destination: 'x/a.csv'});
    return [file.name, await text(file), (await meta(file)).contentType];
  }),
  'upload to no bucket': id => storage.bucket(`none-${id}`).file('a').save('a', {resumable: false}),
  'names of objects': async id => {
    const bucket = await made(id);
    const odd = ['ü 💥', 'a/b?c#d', '%2F', '+&=', "it's", 'a//b'];
    for (const n of odd) await bucket.file(n).save(n);
    const [files] = await bucket.getFiles();
    return [files.length, (await Promise.all(odd.map(n => text(bucket.file(n))))).every((t, i) => t === odd[i])];
  },
  'uploadManyFiles and downloadManyFiles': async id => folder(async dir => {
    await Promise.all(['1', '2', '3'].map(n => fs.writeFile(path.join(dir, n), n)));
    const manager = new TransferManager(await made(id));
    await manager.uploadManyFiles(['1', '2', '3'].map(n => path.join(dir, n)), {customDestinationBuilder: p => path.basename(p)});
    const down = await manager.downloadManyFiles(['1', '2', '3'], {passthroughOptions: {destination: dir}});
    return [down.length, (await fs.readFile(path.join(dir, '3'))).toString()];
  }),
  'downloadFileInChunks': async id => folder(async dir => {
    const bucket = await made(id);
    await bucket.file('a').save(big);
    await new TransferManager(bucket).downloadFileInChunks('a', {destination: path.join(dir, 'a'), chunkSizeBytes: 300_000, validation: 'crc32c'});
    return big.equals(await fs.readFile(path.join(dir, 'a')));
  }),

  // Downloads.
  'download to a file': async id => folder(async dir => {
    const file = (await made(id)).file('a');
    await file.save('hello');
    await file.download({destination: path.join(dir, 'a'), validation: 'crc32c'});
    return (await fs.readFile(path.join(dir, 'a'))).toString();
  }),
  'download a range': async id => {
    const file = (await made(id)).file('a');
    await file.save('0123456789');
    const range = async o => (await file.download(o))[0].toString();
    return [await range({start: 2, end: 4}), await range({start: 7}), await range({end: -3})];
  },
  'download of nothing there': async id => (await made(id)).file('none').download(),
  'createReadStream': async id => {
    const file = (await made(id)).file('a');
    await file.save(big);
    const parts = [];
    for await (const part of file.createReadStream()) parts.push(part);
    return big.equals(Buffer.concat(parts));
  },
  'a generation': async id => {
    const file = (await made(id)).file('a');
    await file.save('one');
    const {generation} = await meta(file);
    return [await text(file.bucket.file('a', {generation})), (await file.bucket.file('a', {generation: 1}).exists())[0]];
  },
  'file exists': async id => {
    const bucket = await five(await made(id));
    return [(await bucket.file('a').exists())[0], (await bucket.file('none').exists())[0]];
  },

  // Metadata.
  'setMetadata': async id => {
    const file = (await made(id)).file('a');
    await file.save('a', {metadata: {metadata: {kept: '1', gone: '2'}}});
    await file.setMetadata({contentType: 'text/x', cacheControl: 'private', metadata: {gone: null, made: '3'}});
    const m = await meta(file);
    return [m.contentType, m.cacheControl, m.metadata, m.metageneration];
  },
  'setMetadata if it is as it was': async id => {
    const file = (await made(id)).file('a');
    await file.save('a');
    await file.setMetadata({contentType: 'a/b'}, {ifMetagenerationMatch: 7});
  },
  'a temporary hold': async id => {
    const file = (await made(id)).file('a');
    await file.save('a');
    await file.setMetadata({temporaryHold: true});
    const code = await file.delete().catch(err => err.code);
    await file.setMetadata({temporaryHold: false});
    await file.delete();
    return code;
  },
  'setStorageClass': async id => {
    const file = (await made(id)).file('a');
    await file.save('a');
    await file.setStorageClass('nearline');
    return (await meta(file)).storageClass;
  },
  'what is there of a file': async id => {
    const file = (await made(id)).file('dir/a');
    await file.save('hello', {contentType: 'text/plain'});
    const m = await meta(file);
    return [m.kind, m.id === `${m.bucket}/dir/a/${m.generation}`, m.size, m.storageClass, m.etag.length > 0, new URL(m.mediaLink).pathname.endsWith('/dir%2Fa'), new URL(m.selfLink).pathname, m.timeCreated === m.updated];
  },

  // Copies.
  'copy': async id => {
    const file = (await made(id)).file('a');
    await file.save('a', {contentType: 'text/x', metadata: {metadata: {k: 'v'}}});
    const [copy] = await file.copy('b/c');
    const m = await meta(copy);
    return [await text(copy), m.contentType, m.metadata];
  },
  'copy to another bucket with other metadata': async id => {
    const file = (await made(id)).file('a');
    await file.save('a');
    const other = await made(`${id}-2`);
    const [copy] = await file.copy(other.file('b'), {contentType: 'text/y', metadata: {k: 'w'}});
    const m = await meta(copy);
    return [m.bucket === other.name, m.contentType, m.metadata];
  },
  'copy of nothing there': async id => (await made(id)).file('none').copy('b'),
  'move': async id => {
    const file = (await made(id)).file('a');
    await file.save('a');
    await file.move('b');
    return names((await file.bucket.getFiles())[0]);
  },
  'rename': async id => {
    const file = (await made(id)).file('a');
    await file.save('a');
    await file.rename('b');
    return names((await file.bucket.getFiles())[0]);
  },
  'combine': async id => {
    const bucket = await five(await made(id));
    await bucket.combine(['a', 'b', 'dir/c'], 'all');
    const m = await meta(bucket.file('all'));
    return [await text(bucket.file('all')), m.componentCount, m.md5Hash === undefined];
  },

  // Deletion and lists.
  'delete a file': async id => {
    const file = (await made(id)).file('a');
    await file.save('a');
    await file.delete();
    return (await file.exists())[0];
  },
  'delete no file': async id => (await made(id)).file('none').delete(),
  'delete no file with ignoreNotFound': async id => {
    await (await made(id)).file('none').delete({ignoreNotFound: true});
    return 'done';
  },
  'getFiles': async id => names((await (await five(await made(id))).getFiles())[0]),
  'getFiles by prefix and folder': async id => {
    const bucket = await five(await made(id));
    const [top, , answer] = await bucket.getFiles({delimiter: '/', autoPaginate: false});
    const [below] = await bucket.getFiles({prefix: 'dir/', delimiter: '/', autoPaginate: false});
    return [names(top), answer.prefixes, names(below)];
  },
  'getFiles of a range and a pattern': async id => {
    const bucket = await five(await made(id));
    const list = async o => names((await bucket.getFiles(o))[0]);
    return [await list({startOffset: 'b', endOffset: 'dir/d'}), await list({matchGlob: '**/{c,e}'})];
  },
  'getFiles in pages': async id => {
    const bucket = await five(await made(id));
    const [one, next] = await bucket.getFiles({maxResults: 2, autoPaginate: false});
    const [two] = await bucket.getFiles(next);
    return [names(one), names(two), names((await bucket.getFiles({maxResults: 2}))[0]).length];
  },
  'getFilesStream': async id => {
    const all = [];
    for await (const f of (await five(await made(id))).getFilesStream()) all.push(f.name);
    return all;
  },

  // Conditions.
  'save if there is none': async id => {
    const file = (await made(id)).file('a');
    await file.save('one', {preconditionOpts: {ifGenerationMatch: 0}});
    const code = await file.save('two', {preconditionOpts: {ifGenerationMatch: 0}}).catch(err => err.code ?? err.status);
    return [code, await text(file)];
  },
  'save if it is as it was': async id => {
    const file = (await made(id)).file('a');
    await file.save('one');
    const {generation} = await meta(file);
    await file.save('two', {preconditionOpts: {ifGenerationMatch: generation}, resumable: false});
    const code = await file.save('three', {preconditionOpts: {ifGenerationMatch: generation}, resumable: false}).catch(err => err.code);
    return [code, await text(file)];
  },
  'delete if it is as it was': async id => {
    const file = (await made(id)).file('a');
    await file.save('a');
    return [await file.delete({ifGenerationMatch: 1}).catch(err => err.code), (await file.exists())[0]];
  },

  // Who may.
  'a link without a right': async id => {
    const file = (await made(id)).file('a');
    await file.save('a');
    return (await fetch(file.publicUrl())).status;
  },
  'a signed URL by an account\'s own key': async id => {
    const key = JSON.parse(process.env.SERVICE_ACCOUNT);
    const {privateKey} = generateKeyPairSync('rsa', {modulusLength: 2048, privateKeyEncoding: {type: 'pkcs8', format: 'pem'}, publicKeyEncoding: {type: 'spki', format: 'pem'}});
    const signed = async (name, private_key, options) => (await new Storage({projectId: 'demo-clients', credentials: {client_email: key.client_email, private_key}})
      .bucket(bucketName(id)).file(name).getSignedUrl({version: 'v4', expires: Date.now() + 60_000, ...options}))[0];
    const bucket = await made(id);
    await bucket.file('a').save('hello');
    const read = await fetch(await signed('a', key.private_key, {action: 'read'}));
    const written = await fetch(await signed('b', key.private_key, {action: 'write', contentType: 'text/plain'}), {method: 'PUT', headers: {'Content-Type': 'text/plain'}, body: 'ours'});
    return [read.status, await read.text(), written.status, await text(bucket.file('b')), (await fetch(await signed('a', privateKey, {action: 'read'}))).status];
  },
  'a signed URL by a key that nobody knows': async id => {
    const {privateKey} = generateKeyPairSync('rsa', {modulusLength: 2048, privateKeyEncoding: {type: 'pkcs8', format: 'pem'}, publicKeyEncoding: {type: 'spki', format: 'pem'}});
    const signer = new Storage({projectId: 'demo-clients', credentials: {client_email: 'nobody@example.invalid', private_key: privateKey}});
    await (await made(id)).file('a').save('a');
    const [url] = await signer.bucket(bucketName(id)).file('a').getSignedUrl({version: 'v4', action: 'read', expires: Date.now() + 60_000});
    return (await fetch(url)).status;
  },
  'STORAGE_EMULATOR_HOST, and apiEndpoint': async id => {
    const bucket = await made(id);
    await bucket.file('a').save('hello');
    const host = process.env.STORAGE_EMULATOR_HOST;
    delete process.env.STORAGE_EMULATOR_HOST;
    const named = new Storage({projectId: 'demo-clients', apiEndpoint: host, useAuthWithCustomEndpoint: false});
    process.env.STORAGE_EMULATOR_HOST = host;
    return [await text(named.bucket(bucket.name).file('a')), names((await named.bucket(bucket.name).getFiles())[0])];
  },
  'testIamPermissions': async id => (await (await made(id)).iam.testPermissions(['storage.objects.create', 'storage.buckets.delete']))[0],

  // What else there is.
  'versioning': async id => {
    const bucket = await made(id);
    await bucket.setMetadata({versioning: {enabled: true}});
    await bucket.file('a').save('one');
    await bucket.file('a').save('two');
    return (await bucket.getFiles({versions: true}))[0].length;
  },
  'versions, each read': async id => {
    const {bucket, one, two} = await twice(id);
    const [list] = await bucket.getFiles({versions: true});
    return [await text(bucket.file('a')), await text(one), await text(two), list.map(f => f.metadata.timeDeleted !== undefined), (await one.getMetadata())[0].metageneration];
  },
  'versions in pages': async id => {
    const {bucket} = await twice(id);
    await bucket.file('dir/b').save('b');
    await bucket.file('a').delete();
    const [one, second] = await bucket.getFiles({versions: true, maxResults: 1, autoPaginate: false});
    const [two, third] = await bucket.getFiles(second);
    const [three, end] = await bucket.getFiles(third);
    const [top, , answer] = await bucket.getFiles({versions: true, delimiter: '/', autoPaginate: false});
    return [names([...one, ...two, ...three]), end, names(top), answer.prefixes, names((await bucket.getFiles())[0])];
  },
  'a version restored': async id => {
    const {bucket, one} = await twice(id);
    await bucket.file('a').delete();
    const gone = (await bucket.file('a').exists())[0];
    await one.copy(bucket.file('a'), {preconditionOpts: {ifGenerationMatch: 0}});
    return [gone, await text(bucket.file('a')), (await bucket.getFiles({versions: true}))[0].length];
  },
  'a version deleted for good': async id => {
    const {bucket, one} = await twice(id);
    await one.delete();
    return [(await one.exists())[0], await text(bucket.file('a')), (await bucket.getFiles({versions: true}))[0].length];
  },
  'metadata of a version': async id => {
    const {bucket, one} = await twice(id);
    await one.setMetadata({contentType: 'text/old'});
    return [(await meta(one)).contentType, (await meta(bucket.file('a'))).contentType !== 'text/old', (await meta(one)).metageneration];
  },
  'conditions on versions': async id => {
    const {bucket, one, two} = await twice(id);
    const codes = [await one.delete({ifMetagenerationMatch: 7}).catch(err => err.code)];
    codes.push(await bucket.file('a').delete({ifGenerationMatch: one.generation}).catch(err => err.code));
    await bucket.file('a').delete({ifGenerationMatch: two.generation});
    await bucket.file('a').save('three', {preconditionOpts: {ifGenerationMatch: 0}, resumable: false});
    return [codes, await text(bucket.file('a'))];
  },
  'delete a bucket with versions alone': async id => {
    const {bucket} = await twice(id);
    await bucket.file('a').delete();
    await bucket.delete();
  },
  'versioning ended': async id => {
    const {bucket} = await twice(id);
    await bucket.setMetadata({versioning: {enabled: false}});
    await bucket.file('a').save('three');
    return [(await bucket.getMetadata())[0].versioning, (await bucket.getFiles({versions: true}))[0].length];
  },
  'a signed URL of a version': async id => {
    const key = JSON.parse(process.env.SERVICE_ACCOUNT);
    const {bucket, one} = await twice(id);
    const signer = new Storage({projectId: 'demo-clients', credentials: {client_email: key.client_email, private_key: key.private_key}});
    const [url] = await signer.bucket(bucket.name).file('a', {generation: one.generation}).getSignedUrl({version: 'v4', action: 'read', expires: Date.now() + 60_000});
    return (await fetch(url)).text();
  },
  'a retention policy': async id => {
    const bucket = await made(id);
    await bucket.setRetentionPeriod(1);
    return (await bucket.getMetadata())[0].retentionPolicy.retentionPeriod;
  },
  'makePublic': async id => {
    const file = (await made(id)).file('a');
    await file.save('a');
    await file.makePublic();
    return (await fetch(file.publicUrl())).status;
  },
  'getPolicy': async id => (await (await made(id)).iam.getPolicy())[0].bindings.length > 0,
  'setCorsConfiguration': async id => {
    const bucket = await made(id);
    await bucket.setCorsConfiguration([{origin: ['*'], method: ['GET'], responseHeader: ['x'], maxAgeSeconds: 60}]);
    return (await bucket.getMetadata())[0].cors.length;
  },
  'a key of the customer': async id => {
    const file = (await made(id)).file('a').setEncryptionKey(Buffer.alloc(32, 1));
    await file.save('a', {resumable: false});
    return text(file);
  },

  // Multipart uploads.
  'uploadFileInChunks': async id => folder(async dir => {
    const manager = new TransferManager(reached(await made(id)));
    await fs.writeFile(path.join(dir, 'a'), parts);
    const done = await manager.uploadFileInChunks(path.join(dir, 'a'), {
      uploadName: 'x/a.bin', chunkSizeBytes: 5 << 20, headers: {'Content-Type': 'text/x', 'x-goog-meta-k': 'v'}, validation: 'md5',
    });
    const m = await meta(manager.bucket.file('x/a.bin'));
    return [done.status, parts.equals((await manager.bucket.file('x/a.bin').download())[0]), m.size, m.contentType, m.metadata, m.md5Hash === undefined];
  }),
  'uploadFileInChunks, resumed': async id => folder(async dir => {
    const manager = new TransferManager(reached(await made(id)));
    await fs.writeFile(path.join(dir, 'a'), parts);
    const {authClient} = manager.bucket.storage;
    const uploadId = await begun(manager.bucket, 'a');
    const first = await authClient.request({url: `${virtual(manager.bucket)}/a?partNumber=1&uploadId=${uploadId}`, method: 'PUT', body: parts.subarray(0, 5 << 20)});
    const listed = (await open(manager.bucket)).includes(uploadId);
    // The client numbers what it sends from 1, whatever partsMap has: only an empty one has it send all.
    await manager.uploadFileInChunks(path.join(dir, 'a'), {chunkSizeBytes: 5 << 20, uploadId, partsMap: new Map()});
    return [listed, typeof first.headers.etag, parts.equals((await manager.bucket.file('a').download())[0])];
  }),
};

module.exports = {rows};
