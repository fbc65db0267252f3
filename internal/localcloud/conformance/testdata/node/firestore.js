'use strict';
const {AggregateField, FieldPath, FieldValue, Filter, Firestore, GeoPoint, Timestamp} = require('@google-cloud/firestore');
const {GoogleAuth, OAuth2Client} = require('google-auth-library');

const projectId = 'demo-clients';
const db = new Firestore({projectId});
// For HTTP the client looks for credentials, which no server here asks for.
const credentials = new OAuth2Client();
credentials.setCredentials({access_token: 'owner'});
const rest = new Firestore({projectId, preferRest: true, auth: new GoogleAuth({authClient: credentials, projectId})});

// things is a collection that a row has for itself; all are of one group, which has the indexes.
const things = (id, of = db) => of.collection(`rows/${id}/things`);

// plain is a value of a document in the table's JSON.
function plain(v) {
  if (v === undefined) return '$undefined';
  if (v === null || typeof v === 'string' || typeof v === 'boolean') return v;
  if (typeof v === 'bigint') return {$integer: String(v)};
  if (typeof v === 'number') return Number.isFinite(v) && !Object.is(v, -0) ? v : {$double: Object.is(v, -0) ? '-0' : String(v)};
  if (v instanceof Timestamp) return {$time: `${v.toDate().toISOString().slice(0, 19)}.${String(v.nanoseconds).padStart(9, '0')}Z`};
  if (v instanceof GeoPoint) return {$geo: [v.latitude, v.longitude]};
  if (Buffer.isBuffer(v)) return {$bytes: v.toString('base64')};
  if (typeof v.toArray === 'function') return {$vector: v.toArray()};
  if (typeof v.path === 'string' && v.firestore) return {$reference: v.path};
  if (Array.isArray(v)) return v.map(plain);
  return Object.fromEntries(Object.keys(v).sort().map(k => [k, plain(v[k])]));
}
const data = snap => (snap.exists ? plain(snap.data()) : null);
const ids = snap => snap.docs.map(d => d.id);
const found = async query => ids(await query.get());

async function seed(c, docs) {
  const batch = c.firestore.batch();
  for (const [id, fields] of Object.entries(docs)) batch.set(c.doc(id), fields);
  await batch.commit();
  return c;
}
const numbers = c => seed(c, {a: {n: 1, kind: 'x', tags: ['red', 'blue']}, b: {n: 2, kind: 'x', tags: ['blue']}, c: {n: 3, kind: 'y', tags: []}, d: {n: 2.5, kind: 'y', tags: ['red']}, e: {n: null, kind: 'z'}});

// events collects what a listener hears until it is enough.
function events(target) {
  const heard = [];
  let wake = () => {};
  const stop = target.onSnapshot(s => (heard.push(s), wake()), err => (heard.push(err), wake()));
  return {
    async next() {
      while (heard.length === 0) await new Promise(resolve => (wake = resolve));
      const s = heard.shift();
      if (s instanceof Error) throw s;
      return s;
    },
    stop,
  };
}
const changes = snap => snap.docChanges().map(c => [c.type, c.doc.id, c.oldIndex, c.newIndex]);

// gathered is all that a stream of Node brings.
async function gathered(stream) {
  const all = [];
  for await (const v of stream) all.push(v);
  return all;
}

// nested is a document's fields with maps in maps, so many.
const nested = depth => ({m: depth === 0 ? 1 : nested(depth - 1)});

const vectors = c => seed(c, {
  a: {kind: 'x', at: FieldValue.vector([1, 0])}, b: {kind: 'x', at: FieldValue.vector([0, 2])},
  c: {kind: 'y', at: FieldValue.vector([3, 3])}, d: {kind: 'x', at: [1, 1]}, e: {kind: 'x'},
});
const nearest = (q, more) => q.findNearest({vectorField: 'at', queryVector: [1, 0.5], limit: 10, distanceMeasure: 'EUCLIDEAN', ...more});

const rows = {
  // Documents.
  'add': async id => {
    const ref = await things(id).add({n: 1});
    return [ref.id.length, data(await ref.get())];
  },
  'create': async id => {
    const ref = things(id).doc('a');
    const written = await ref.create({n: 1});
    const snap = await ref.get();
    return [data(snap), written.writeTime.isEqual(snap.createTime), snap.createTime.isEqual(snap.updateTime)];
  },
  'create what is there': async id => {
    await things(id).doc('a').create({n: 1});
    await things(id).doc('a').create({n: 2});
  },
  'set replaces': async id => {
    const ref = things(id).doc('a');
    await ref.set({n: 1, m: 2});
    await ref.set({n: 3});
    return data(await ref.get());
  },
  'set with merge': async id => {
    const ref = things(id).doc('a');
    await ref.set({n: 1, m: {a: 1, b: 2}});
    await ref.set({m: {b: 3}, o: 4}, {merge: true});
    return data(await ref.get());
  },
  'set with merge makes a document': async id => {
    const ref = things(id).doc('a');
    await ref.set({n: 1}, {merge: true});
    return data(await ref.get());
  },
  'set with merge of an empty map': async id => {
    const ref = things(id).doc('a');
    await ref.set({n: 1, m: {a: 1}});
    await ref.set({m: {}}, {merge: true});
    return data(await ref.get());
  },
  'set with merge deletes': async id => {
    const ref = things(id).doc('a');
    await ref.set({n: 1, m: {a: 1, b: 2}});
    await ref.set({m: {a: FieldValue.delete()}}, {merge: true});
    return data(await ref.get());
  },
  'set with mergeFields': async id => {
    const ref = things(id).doc('a');
    await ref.set({n: 1, m: {a: 1, b: 2}});
    await ref.set({n: 9, m: {a: 7, b: 8}}, {mergeFields: ['m.a']});
    return data(await ref.get());
  },
  'an empty document': async id => {
    const ref = things(id).doc('a');
    await ref.set({});
    return data(await ref.get());
  },
  'update': async id => {
    const ref = things(id).doc('a');
    await ref.set({n: 1, m: {a: 1, b: 2}, gone: true});
    await ref.update({'m.a': 5, 'x.y.z': 6, gone: FieldValue.delete()});
    return data(await ref.get());
  },
  'update by pairs': async id => {
    const ref = things(id).doc('a');
    await ref.set({'a.b': 1, a: {b: 2}});
    await ref.update(new FieldPath('a.b'), 3, 'a.b', 4);
    return data(await ref.get());
  },
  'update what is not there': id => things(id).doc('none').update({n: 1}),
  'update if it is as it was': async id => {
    const ref = things(id).doc('a');
    const {writeTime} = await ref.set({n: 1});
    await ref.update({n: 2}, {lastUpdateTime: writeTime});
    return data(await ref.get());
  },
  'update if it is as it was, and it is not': async id => {
    const ref = things(id).doc('a');
    const {writeTime} = await ref.set({n: 1});
    await ref.set({n: 2});
    await ref.update({n: 3}, {lastUpdateTime: writeTime});
  },
  'a write that changes nothing': async id => {
    const ref = things(id).doc('a');
    const first = await ref.set({n: 1});
    const second = await ref.set({n: 1});
    const snap = await ref.get();
    return [second.writeTime.isEqual(first.writeTime), snap.updateTime.isEqual(first.writeTime)];
  },
  'delete': async id => {
    const ref = things(id).doc('a');
    await ref.set({n: 1});
    await ref.delete();
    return (await ref.get()).exists;
  },
  'delete what is not there': async id => (await things(id).doc('none').delete()).writeTime.seconds > 0,
  'delete if it is there': id => things(id).doc('none').delete({exists: true}),
  'delete if it is as it was': async id => {
    const ref = things(id).doc('a');
    const {writeTime} = await ref.set({n: 1});
    await ref.set({n: 2});
    await ref.delete({lastUpdateTime: writeTime});
  },
  'get what is not there': async id => {
    const snap = await things(id).doc('none').get();
    return [snap.exists, snap.readTime.seconds > 0, plain(snap.data()), plain(snap.get('n'))];
  },
  'every type': async id => {
    const ref = things(id).doc('a');
    await ref.set({
      null: null, yes: true, int: 42, min: BigInt('-9223372036854775808'), double: 0.1, nan: NaN, inf: -Infinity, zero: -0, text: 'a\u0000é😀', bytes: Buffer.from([0, 255]),
      time: new Timestamp(-62135596800, 0), geo: new GeoPoint(-90, 180), ref, list: [1, 'a', {b: [2]}, null], map: {deep: {er: []}}, vector: FieldValue.vector([0.5, -1]),
    });
    const big = new Firestore({projectId, useBigInt: true});
    try {
      return plain((await big.doc(ref.path).get()).data());
    } finally {
      await big.terminate();
    }
  },
  'times have microseconds': async id => {
    const ref = things(id).doc('a');
    await ref.set({at: new Timestamp(1, 123456789)});
    return data(await ref.get());
  },
  'names of fields': async id => {
    const ref = things(id).doc('a');
    await ref.set({'a.b': 1, '`': 2, '\\': 3, 'ü ': 4, '0': 5, _x: 6});
    const snap = await ref.get();
    return [data(snap), snap.get(new FieldPath('a.b')), await found(things(id).where(new FieldPath('`'), '==', 2))];
  },
  'a reserved name of a field': id => things(id).doc('a').set({__n__: 1}),
  'ids of documents': async id => {
    const names = ['ü', ' ', 'a b', '%2F', '.a', '💥', '__a', 'A', 'a'];
    await seed(things(id), Object.fromEntries(names.map(n => [n, {}])));
    return found(things(id));
  },
  'numeric ids': async id => {
    const db2 = things(id);
    await seed(db2, {'__id7__': {n: 1}, '__id-9223372036854775808__': {n: 2}, '__id100__': {n: 3}, a: {n: 4}});
    return [data(await db2.doc('__id7__').get()), await found(db2)];
  },
  'a reserved id': id => things(id).doc('__all__').set({n: 1}),
  'an id of more than 1500 bytes': id => things(id).doc('a'.repeat(1501)).set({n: 1}),
  'a document of 1 MiB': id => things(id).doc('a').set({text: 'a'.repeat((1 << 20) - 200)}).then(() => 'stored'),
  'a document of more than 1 MiB': id => things(id).doc('a').set({text: 'a'.repeat(1 << 20)}),
  'maps 20 deep': async id => {
    await things(id).doc('a').set(nested(20));
    return data(await things(id).doc('a').get()) !== null;
  },
  'a converter': async id => {
    const ref = things(id).doc('a').withConverter({toFirestore: v => ({n: v.length}), fromFirestore: s => 'a'.repeat(s.data().n)});
    await ref.set('aaa');
    return [(await ref.get()).data(), data(await things(id).doc('a').get())];
  },
  'getAll': async id => {
    const c = await numbers(things(id));
    const snaps = await db.getAll(c.doc('c'), c.doc('none'), c.doc('a'), c.doc('c'));
    return snaps.map(s => [s.id, s.exists]);
  },
  'getAll of some fields': async id => {
    const c = await numbers(things(id));
    const snaps = await db.getAll(c.doc('a'), c.doc('e'), {fieldMask: ['kind', 'tags']});
    return snaps.map(data);
  },
  'listCollections': async id => {
    const doc = things(id).doc('a');
    await Promise.all(['one', 'two', 'three'].map(name => doc.collection(name).doc('x').set({})));
    return [(await doc.listCollections()).map(c => c.id), (await db.listCollections()).some(c => c.id === 'rows')];
  },
  'listDocuments': async id => {
    const c = await seed(things(id), {b: {}});
    await c.doc('a').collection('below').doc('x').set({});
    return [(await c.listDocuments()).map(d => d.id), await found(c)];
  },
  'another database': async id => {
    const other = new Firestore({projectId, databaseId: 'other'});
    try {
      await things(id, other).doc('a').set({n: 1});
      return [(await things(id, other).doc('a').get()).exists, (await things(id).doc('a').get()).exists];
    } finally {
      await other.terminate();
    }
  },

  // Transforms.
  'serverTimestamp': async id => {
    const ref = things(id).doc('a');
    await ref.set({at: FieldValue.serverTimestamp(), m: {at: FieldValue.serverTimestamp()}});
    const snap = await ref.get();
    return [snap.get('at').isEqual(snap.get('m.at')), snap.get('at').nanoseconds % 1_000_000];
  },
  'serverTimestamp with merge and update': async id => {
    const ref = things(id).doc('a');
    await ref.set({n: 1, at: FieldValue.serverTimestamp()}, {merge: true});
    await ref.update({'m.at': FieldValue.serverTimestamp()});
    const snap = await ref.get();
    return [snap.get('n'), snap.get('at') instanceof Timestamp, snap.get('m.at').toMillis() >= snap.get('at').toMillis()];
  },
  'increment': async id => {
    const ref = things(id).doc('a');
    await ref.set({int: 1, double: 0.5, text: 'a', max: BigInt('9223372036854775807')});
    await ref.update({int: FieldValue.increment(2), double: FieldValue.increment(1), text: FieldValue.increment(3), none: FieldValue.increment(4), half: FieldValue.increment(0.5)});
    return plain({...(await ref.get()).data(), max: 0});
  },
  'increment does not overflow': async id => {
    const ref = things(id).doc('a');
    await ref.set({max: BigInt('9223372036854775807')});
    await ref.update({max: FieldValue.increment(1)});
    return found(things(id).where('max', '==', BigInt('9223372036854775807')));
  },
  'arrayUnion': async id => {
    const ref = things(id).doc('a');
    await ref.set({list: [1, 2], text: 'a'});
    await ref.update({list: FieldValue.arrayUnion(2.0, 3, 3), text: FieldValue.arrayUnion('b'), none: FieldValue.arrayUnion({m: 1})});
    return data(await ref.get());
  },
  'arrayRemove': async id => {
    const ref = things(id).doc('a');
    await ref.set({list: [1, 2, 1, NaN, null], text: 'a'});
    await ref.update({list: FieldValue.arrayRemove(1, NaN, null), text: FieldValue.arrayRemove('b'), none: FieldValue.arrayRemove(1)});
    return data(await ref.get());
  },

  // Queries.
  'where ==': async id => found((await numbers(things(id))).where('kind', '==', 'x')),
  'where == null': async id => found((await numbers(things(id))).where('n', '==', null)),
  'where == NaN': async id => {
    const c = await seed(things(id), {a: {n: NaN}, b: {n: 1}, c: {n: null}});
    return [await found(c.where('n', '==', NaN)), await found(c.where('n', '!=', NaN))];
  },
  'where < and its like': async id => {
    const c = await numbers(things(id));
    return Promise.all(['<', '<=', '>', '>='].map(op => found(c.where('n', op, 2))));
  },
  'where !=': async id => found((await numbers(things(id))).where('n', '!=', 2)),
  'where in': async id => found((await numbers(things(id))).where('n', 'in', [3, 2.5, 17, null])),
  'where in of 31 values': async id => found(things(id).where('n', 'in', Array.from({length: 31}, (_, i) => i))),
  'where not-in': async id => found((await numbers(things(id))).where('n', 'not-in', [1, 3])),
  'where not-in with null': async id => found((await numbers(things(id))).where('n', 'not-in', [1, null])),
  'where array-contains': async id => found((await numbers(things(id))).where('tags', 'array-contains', 'red')),
  'where array-contains-any': async id => found((await numbers(things(id))).where('tags', 'array-contains-any', ['red', 'blue', 'green'])),
  'where a map is': async id => {
    const c = await seed(things(id), {a: {m: {x: 1, y: 2}}, b: {m: {y: 2, x: 1}}, c: {m: {x: 1}}});
    return [await found(c.where('m', '==', {x: 1, y: 2})), await found(c.where('m.x', '==', 1)), await found(c.where('m', '>', {x: 1}))];
  },
  'where an array is': async id => {
    const c = await seed(things(id), {a: {l: [1, 2]}, b: {l: [2, 1]}, c: {l: [1]}});
    return [await found(c.where('l', '==', [1, 2])), await found(c.where('l', 'in', [[1], [2, 1]])), await found(c.orderBy('l'))];
  },
  'where by id': async id => {
    const c = await numbers(things(id));
    const key = FieldPath.documentId();
    return [await found(c.where(key, '==', 'b')), await found(c.where(key, 'in', ['d', 'a', 'none'])), await found(c.where(key, '>', 'c')), await found(c.where(key, '!=', 'c'))];
  },
  'or': async id => found((await numbers(things(id))).where(Filter.or(Filter.where('n', '==', 3), Filter.where('tags', 'array-contains', 'red')))),
  'or within and': async id => found((await numbers(things(id))).where(Filter.and(Filter.where('kind', '==', 'x'), Filter.or(Filter.where('n', '==', 1), Filter.where('n', '==', 2.5))))),
  'or of more than 30': id => {
    const some = f => Filter.or(...Array.from({length: 6}, (_, i) => Filter.where(f, '==', i)));
    return found(things(id).where(Filter.and(some('a'), some('b'))));
  },
  'inequalities of two fields': async id => {
    const c = await seed(things(id), {a: {n: 1, m: 9}, b: {n: 2, m: 5}, c: {n: 3, m: 7}, d: {n: 4}});
    return found(c.where('n', '>', 1).where('m', '<', 8).orderBy('n').orderBy('m'));
  },
  'orderBy': async id => {
    const c = await numbers(things(id));
    return [await found(c.orderBy('n')), await found(c.orderBy('n', 'desc')), await found(c.orderBy('tags'))];
  },
  'order of types': async id => {
    const c = things(id);
    await seed(c, {
      k: {v: {a: 1}}, a: {v: null}, j: {v: [0]}, b: {v: false}, i: {v: new GeoPoint(0, 0)}, c: {v: NaN}, d: {v: -1}, e: {v: new Timestamp(0, 0)}, f: {v: ''}, g: {v: Buffer.from('')}, h: {v: c.doc('x')}, jj: {v: FieldValue.vector([1])},
    });
    return found(c.orderBy('v'));
  },
  'orderBy two fields': async id => found((await numbers(things(id))).orderBy('kind').orderBy('n', 'desc')),
  'a query without its index': async id => found((await numbers(things(id))).where('kind', '==', 'x').orderBy('tags')),
  'limit': async id => found((await numbers(things(id))).orderBy('n').limit(2)),
  'limitToLast': async id => found((await numbers(things(id))).orderBy('n').limitToLast(2)),
  'offset': async id => found((await numbers(things(id))).orderBy('n').offset(3)),
  'cursors of values': async id => {
    const q = (await numbers(things(id))).orderBy('n');
    return [await found(q.startAt(2)), await found(q.startAfter(2)), await found(q.endBefore(2.5)), await found(q.endAt(2.5)), await found(q.startAt(2).endAt(2.5))];
  },
  'cursors of documents': async id => {
    const c = await seed(things(id), {a: {n: 1}, b: {n: 2}, c: {n: 2}, d: {n: 2}, e: {n: 3}});
    const at = await c.doc('c').get();
    const q = c.orderBy('n');
    return [await found(q.startAt(at)), await found(q.startAfter(at)), await found(q.endBefore(at)), await found(q.endAt(at)), await found(c.startAfter(at))];
  },
  'cursors and where': async id => {
    const c = await seed(things(id), {a: {n: 1, m: 1}, b: {n: 2, m: 2}, c: {n: 3, m: 1}, d: {n: 4, m: 3}});
    const at = await c.doc('b').get();
    return found(c.where('n', '>', 1).where('m', '>', 0).startAfter(at));
  },
  'select': async id => {
    const c = await seed(things(id), {a: {n: 1, m: {x: 1, y: 2}, o: 3}});
    const shown = async q => (await q.get()).docs.map(data);
    return [await shown(c.select('m.x', 'o')), await shown(c.select()), await shown(c.select('none'))];
  },
  'a collection group': async id => {
    const group = `group-${id}`;
    await Promise.all(['a', 'b/below/c', 'd/below/e/deep/f'].map((p, i) => db.doc(`rows/${id}`).collection('top').doc(p).collection(group).doc(`x${i}`).set({n: i})));
    await db.doc(`rows/${id}/${group}-not/y`).set({});
    return found(db.collectionGroup(group));
  },
  'a collection group from a place on': async id => {
    const group = `group-${id}`;
    await Promise.all(['a', 'b', 'c'].map(p => db.doc(`rows/${id}/top/${p}/${group}/x`).set({})));
    const q = db.collectionGroup(group).orderBy(FieldPath.documentId());
    return (await q.startAt(`rows/${id}/top/b/${group}/x`).get()).docs.map(d => d.ref.parent.parent.id);
  },
  'a collection group by a field': id => db.collectionGroup(`group-${id}`).where('n', '==', 1).get().then(ids),
  'a stream of a query': async id => (await gathered((await numbers(things(id))).orderBy('n').stream())).map(d => d.id),
  'a query of nothing': async id => {
    const snap = await things(id).get();
    return [snap.empty, snap.size, snap.readTime.seconds > 0];
  },
  'many documents': async id => {
    const c = things(id);
    for (let i = 0; i < 1200; i += 400) await seed(c, Object.fromEntries(Array.from({length: 400}, (_, j) => [String(i + j).padStart(4, '0'), {n: i + j}])));
    const snap = await c.orderBy('n').get();
    return [snap.size, snap.docs.every((d, i) => d.get('n') === i)];
  },
  'a negative offset': async id => found(things(id).offset(-1)),

  // Aggregates.
  'count': async id => {
    const c = await numbers(things(id));
    const count = async q => (await q.count().get()).data().count;
    return [await count(c), await count(c.where('n', '>', 1)), await count(c.limit(2)), await count(c.orderBy('n').startAt(2)), await count(things(`${id}-none`))];
  },
  'sum and average': async id => {
    const c = await numbers(things(id));
    const of = async q => plain((await q.aggregate({sum: AggregateField.sum('n'), average: AggregateField.average('n'), count: AggregateField.count()}).get()).data());
    return [await of(c), await of(c.where('kind', '==', 'x')), await of(things(`${id}-none`))];
  },
  'sums of what is large': async id => {
    const max = BigInt('9223372036854775807');
    const c = await seed(things(id), {a: {n: max, d: Number.MAX_VALUE, x: NaN}, b: {n: 1, d: Number.MAX_VALUE, x: 1}});
    const sum = async f => plain((await c.aggregate({sum: AggregateField.sum(f)}).get()).data().sum);
    return [await sum('n'), await sum('d'), await sum('x')];
  },
  'aggregates of a collection group': async id => {
    const group = `group-${id}`;
    await Promise.all(['a', 'b'].map(p => db.doc(`rows/${id}/top/${p}/${group}/x`).set({n: 2})));
    return (await db.collectionGroup(group).count().get()).data().count;
  },
  'more than five aggregates': id => things(id).aggregate(Object.fromEntries(Array.from({length: 6}, (_, i) => [`a${i}`, AggregateField.count()]))).get(),

  // Vectors.
  'findNearest EUCLIDEAN': async id => found(nearest(await vectors(things(id)))),
  'findNearest COSINE': async id => found(nearest(await vectors(things(id)), {distanceMeasure: 'COSINE'})),
  'findNearest DOT_PRODUCT': async id => found(nearest(await vectors(things(id)), {distanceMeasure: 'DOT_PRODUCT'})),
  'findNearest of some': async id => found(nearest((await vectors(things(id))).where('kind', '==', 'x'))),
  'findNearest within a distance': async id => {
    const c = await vectors(things(id));
    return [await found(nearest(c, {distanceThreshold: 2})), await found(nearest(c, {distanceMeasure: 'DOT_PRODUCT', distanceThreshold: 1}))];
  },
  'findNearest shows the distance': async id => {
    const snap = await nearest(await vectors(things(id)), {distanceResultField: 'far'}).get();
    return snap.docs.map(d => [d.id, Math.round(d.get('far') * 1000)]);
  },
  'findNearest COSINE of zero': async id => {
    const c = await seed(things(id), {a: {at: FieldValue.vector([0, 0])}, b: {at: FieldValue.vector([1, 1])}});
    return found(nearest(c, {distanceMeasure: 'COSINE'}));
  },
  'findNearest without its index': async id => found((await vectors(things(id))).findNearest({vectorField: 'other', queryVector: [1], limit: 1, distanceMeasure: 'EUCLIDEAN'})),

  // Explain.
  'explain': async id => {
    const {metrics, snapshot} = await (await numbers(things(id))).where('n', '>', 1).explain();
    return [snapshot, metrics.executionStats, metrics.planSummary.indexesUsed.map(plain)];
  },
  'explain with analyze': async id => {
    const {metrics, snapshot} = await (await numbers(things(id))).where('n', '>', 1).explain({analyze: true});
    const s = metrics.executionStats;
    return [ids(snapshot), s.resultsReturned, s.readOperations, s.executionDuration.seconds + s.executionDuration.nanoseconds > 0, Object.keys(s.debugStats).length > 0];
  },
  'explain of no result': async id => {
    const {metrics, snapshot} = await (await numbers(things(id))).where('n', '==', 77).explain({analyze: true});
    return [snapshot.size, metrics.executionStats.resultsReturned, metrics.executionStats.readOperations];
  },
  'explainStream': async id => {
    const c = await numbers(things(id));
    const plan = await gathered(c.where('n', '>', 1).explainStream());
    const run = await gathered(c.where('n', '>', 1).explainStream({analyze: true}));
    return [plan.map(v => [v.document !== undefined, v.metrics !== undefined]), run.flatMap(v => (v.document ? [v.document.id] : [])), run.filter(v => v.metrics).length];
  },
  'explain a count': async id => {
    const q = (await numbers(things(id))).where('n', '>', 1).count();
    const plan = await q.explain();
    const run = await q.explain({analyze: true});
    return [plan.snapshot, plan.metrics.planSummary.indexesUsed.length, run.snapshot.data().count, run.metrics.executionStats.resultsReturned];
  },
  'explain findNearest': async id => {
    const q = nearest(await vectors(things(id)));
    const plan = await q.explain();
    const run = await q.explain({analyze: true});
    return [plan.snapshot, plan.metrics.planSummary.indexesUsed.length, ids(run.snapshot)];
  },

  // Partitions and bundles.
  'getPartitions': async id => {
    const group = `group-${id}`;
    for (let i = 0; i < 300; i += 100) await seed(db.collection(`rows/${id}/${group}`), Object.fromEntries(Array.from({length: 100}, (_, j) => [`d${String(i + j).padStart(3, '0')}`, {}])));
    const parts = await gathered(db.collectionGroup(group).getPartitions(4));
    const all = [];
    for (const p of parts) all.push(...(await found(p.toQuery())));
    return [parts.length >= 1 && parts.length <= 4, all.length, new Set(all).size, parts[0].startAt === undefined, parts.at(-1).endBefore === undefined];
  },
  'getPartitions of nothing': async id => {
    const parts = await gathered(db.collectionGroup(`group-${id}`).getPartitions(3));
    return [parts.length, await found(parts[0].toQuery())];
  },
  'a bundle': async id => {
    const c = await numbers(things(id));
    const bundle = db.bundle('b').add('named', await c.where('kind', '==', 'x').get()).add(await c.doc('c').get()).add(await c.doc('none').get()).build();
    return bundle.toString().match(/"(metadata|namedQuery|documentMetadata|document)":/g).sort();
  },

  // Transactions and batches.
  'a transaction': async id => {
    const ref = things(id).doc('a');
    await ref.set({n: 1});
    const answer = await db.runTransaction(async tx => {
      const n = (await tx.get(ref)).get('n');
      tx.update(ref, {n: n + 1}).create(things(id).doc('b'), {n}).delete(things(id).doc('c'));
      return n;
    });
    return [answer, data(await ref.get()), await found(things(id))];
  },
  'a transaction that throws': async id => {
    const failed = await db.runTransaction(async tx => {
      tx.set(things(id).doc('a'), {n: 1});
      throw new Error('no');
    }).catch(err => err.message);
    return [failed, await found(things(id))];
  },
  'a transaction whose condition fails': async id => {
    await things(id).doc('a').set({n: 1});
    await db.runTransaction(async tx => tx.set(things(id).doc('b'), {}).create(things(id).doc('a'), {}));
  },
  'a transaction reads queries and counts': async id => {
    const c = await numbers(things(id));
    return db.runTransaction(async tx => [ids(await tx.get(c.where('kind', '==', 'x'))), (await tx.get(c.count())).data().count, (await tx.getAll(c.doc('b'), c.doc('none'), {fieldMask: ['n']})).map(data)]);
  },
  'transactions at one document': async id => {
    const ref = things(id).doc('a');
    await ref.set({n: 0});
    await Promise.all(Array.from({length: 4}, () => db.runTransaction(async tx => {
      const n = (await tx.get(ref)).get('n');
      tx.update(ref, {n: n + 1});
    }, {maxAttempts: 20})));
    return data(await ref.get());
  },
  'a read-only transaction': async id => {
    const c = await numbers(things(id));
    return db.runTransaction(async tx => [(await tx.get(c.doc('a'))).exists, (await tx.get(c.count())).data().count], {readOnly: true});
  },
  'a read-only transaction of the past': async id => {
    const ref = things(id).doc('a');
    const {writeTime} = await ref.set({n: 1});
    await ref.set({n: 2});
    return db.runTransaction(async tx => [data(await tx.get(ref)), (await tx.get(things(id).where('n', '==', 1))).size], {readOnly: true, readTime: writeTime});
  },
  'a read-only transaction of long ago': id => db.runTransaction(tx => tx.get(things(id).doc('a')), {readOnly: true, readTime: Timestamp.fromMillis(Date.UTC(2020, 0, 1))}),
  'a batch': async id => {
    const c = await seed(things(id), {a: {n: 1}, b: {n: 1}});
    const results = await db.batch().update(c.doc('a'), {n: 2}).set(c.doc('a'), {m: 3}, {merge: true}).delete(c.doc('b')).create(c.doc('b'), {again: true}).commit();
    return [results.length, data(await c.doc('a').get()), data(await c.doc('b').get())];
  },
  'a batch fails as one': async id => {
    const failed = await db.batch().set(things(id).doc('a'), {}).update(things(id).doc('none'), {n: 1}).commit().catch(err => err.code);
    return [failed, await found(things(id))];
  },
  'an empty batch': async () => (await db.batch().commit()).length,
  'a batch of more than 500': async id => {
    await seed(things(id), Object.fromEntries(Array.from({length: 700}, (_, i) => [`d${i}`, {i}])));
    return (await things(id).count().get()).data().count;
  },

  // BulkWriter.
  'BulkWriter': async id => {
    const c = things(id);
    const w = db.bulkWriter({throttling: false});
    const all = Array.from({length: 250}, (_, i) => w.create(c.doc(`d${i}`), {i}));
    await w.flush();
    all.push(w.update(c.doc('d0'), {i: -1}), w.set(c.doc('d1'), {j: 1}, {merge: true}), w.delete(c.doc('d2')));
    await w.close();
    const results = await Promise.all(all);
    return [results.slice(0, -1).every(r => r.writeTime.seconds > 0), results.at(-1).writeTime.seconds, (await c.count().get()).data().count, data(await c.doc('d0').get()), data(await c.doc('d1').get())];
  },
  'BulkWriter when one fails': async id => {
    const c = await seed(things(id), {a: {}});
    const w = db.bulkWriter();
    const codes = [];
    w.onWriteError(err => (codes.push(err.code), false));
    const results = await Promise.allSettled([w.create(c.doc('a'), {}), w.create(c.doc('b'), {}), w.update(c.doc('none'), {n: 1}), w.close()]);
    return [results.slice(0, 3).map(r => r.status), codes, await found(c)];
  },
  'BulkWriter sends again': async id => {
    const c = await seed(things(id), {a: {}});
    const w = db.bulkWriter();
    w.onWriteError(err => err.failedAttempts < 2);
    const attempts = w.create(c.doc('a'), {}).catch(err => err.failedAttempts);
    await w.close();
    return attempts;
  },
  'recursiveDelete of a document': async id => {
    const doc = things(id).doc('a');
    await Promise.all([doc.set({}), doc.collection('x').doc('1').set({}), doc.collection('x').doc('1').collection('y').doc('2').set({}), things(id).doc('b').set({})]);
    await db.recursiveDelete(doc);
    return [await found(things(id)), (await doc.listCollections()).length];
  },
  'recursiveDelete of a collection': async id => {
    await seed(things(id), {a: {}, '__id7__': {}, '__id-9223372036854775808__': {}, z: {}});
    await things(id).doc('missing').collection('x').doc('1').set({});
    await db.recursiveDelete(things(id));
    return (await things(id).listDocuments()).length;
  },

  // Listeners.
  'onSnapshot of a document': async id => {
    const ref = things(id).doc('a');
    const e = events(ref);
    const seen = [data(await e.next())];
    for (const write of [() => ref.set({n: 1}), () => ref.update({n: 2}), () => ref.delete(), () => ref.set({n: 3})]) {
      await write();
      seen.push(data(await e.next()));
    }
    e.stop();
    return seen;
  },
  'onSnapshot of a query': async id => {
    const c = await seed(things(id), {a: {n: 1}, c: {n: 3}});
    const e = events(c.where('n', '>', 0).orderBy('n'));
    const seen = [changes(await e.next())];
    for (const write of [() => c.doc('b').set({n: 2}), () => c.doc('a').update({n: 4}), () => c.doc('c').update({n: -1}), () => c.doc('b').delete()]) {
      await write();
      seen.push(changes(await e.next()));
    }
    e.stop();
    return seen;
  },
  'onSnapshot with a limit': async id => {
    const c = await seed(things(id), {a: {n: 1}, b: {n: 2}, c: {n: 3}});
    const e = events(c.orderBy('n').limit(2));
    const seen = [ids(await e.next())];
    await c.doc('a').delete();
    seen.push(ids(await e.next()));
    e.stop();
    return seen;
  },
  'onSnapshot with limitToLast': async id => {
    const c = await seed(things(id), {a: {n: 1}, b: {n: 2}, c: {n: 3}});
    const e = events(c.orderBy('n').limitToLast(2));
    const seen = [ids(await e.next())];
    await c.doc('d').set({n: 4});
    seen.push(ids(await e.next()));
    e.stop();
    return seen;
  },
  'onSnapshot of nothing': async id => {
    const e = events(things(id));
    const snap = await e.next();
    e.stop();
    return [snap.empty, snap.readTime.seconds > 0];
  },
  'onSnapshot hears a commit as one': async id => {
    const c = things(id);
    const e = events(c);
    await e.next();
    await seed(c, {a: {}, b: {}, c: {}});
    const seen = changes(await e.next());
    e.stop();
    return seen;
  },
  'two listeners': async id => {
    const c = things(id);
    const [one, two] = [events(c), events(c.doc('a'))];
    await one.next();
    await two.next();
    await c.doc('a').set({n: 1});
    const seen = [ids(await one.next()), data(await two.next())];
    one.stop();
    await c.doc('a').set({n: 2});
    seen.push(data(await two.next()));
    two.stop();
    return seen;
  },
  'onSnapshot of a collection group': async id => {
    const group = `group-${id}`;
    const e = events(db.collectionGroup(group));
    await e.next();
    await db.doc(`rows/${id}/${group}/a`).set({});
    const seen = ids(await e.next());
    e.stop();
    return seen;
  },
  'onSnapshot without its index': async id => {
    const e = events(things(id).where('kind', '==', 'x').orderBy('tags'));
    await e.next();
  },

  // What Google's own tests of this client do besides: testdata/node-system-tests.txt.
  'minimum and maximum': async id => {
    const ref = things(id).doc('a');
    await ref.set({low: 2, high: 1, none: null, text: 'a'});
    await ref.update({low: FieldValue.minimum(1), high: FieldValue.maximum(2), none: FieldValue.minimum(1), text: FieldValue.maximum(2)});
    await ref.set({low: FieldValue.minimum(5), high: FieldValue.maximum(3)}, {merge: true});
    return data(await ref.get());
  },
  'one document again and again': async id => {
    const ref = things(id).doc('a');
    const seen = [];
    for (const write of [
      () => ref.create({}), () => ref.delete(), () => ref.create({m: {x: 1}}), () => ref.set({}, {merge: true}), () => ref.set({}), () => ref.set({m: {x: 1}}),
      () => ref.set({m: {y: 2}}, {merge: true}), () => ref.set({m: {x: FieldValue.delete(), y: FieldValue.delete()}}, {merge: true}), () => ref.update({'m.z': {w: {}}}), () => ref.update({m: FieldValue.delete()}),
    ]) {
      await write();
      seen.push(data(await ref.get()));
    }
    return seen;
  },
  'pages by cursor': async id => {
    const c = await seed(things(id), Object.fromEntries(Array.from({length: 10}, (_, i) => [`d${i}`, {n: i, tags: ['red']}])));
    const pages = async query => {
      const sizes = [];
      for (let q = query; ; ) {
        const snap = await q.get();
        if (snap.empty) return sizes;
        sizes.push(snap.size);
        q = query.startAfter(snap.docs.at(-1));
      }
    };
    return [await pages(c.orderBy('n').limit(3)), await pages(c.where('n', '>=', 1).limit(3)), await pages(c.where('tags', 'array-contains', 'red').limit(3))];
  },
  'past the end': async id => {
    const q = (await numbers(things(id))).orderBy('n');
    const streamed = async s => (await gathered(s.stream())).length;
    return [(await found(q.limit(9))).length, await found(q.offset(9)), await streamed(q.limit(9)), await streamed(q.offset(9)), await streamed(q.limit(1)), await streamed(things(`${id}-none`))];
  },
  'limitToLast with cursors': async id => found((await numbers(things(id))).orderBy('n').startAt(2).endAt(3).limitToLast(2)),
  'not-in of ids': async id => found((await numbers(things(id))).where(FieldPath.documentId(), 'not-in', ['a', things(id).doc('b')])),
  'a collection group between names': async id => {
    const group = `group-${id}`;
    const root = `rows-${id}`;
    for (const [name, parent] of [['1', 'a'], ['2', 'b/a/b'], ['3', 'b'], ['4', 'b/c/d'], ['5', 'c']]) await db.doc(`${root}/${parent}/${group}/${name}`).set({});
    const all = db.collectionGroup(group);
    const key = FieldPath.documentId();
    return [await found(all.orderBy(key).startAt(`${root}/b`).endAt(`${root}/b0`)), await found(all.where(key, '>', `${root}/b`).where(key, '<', `${root}/b/${group}/3`))];
  },
  'or of other kinds': async id => {
    const c = await seed(things(id), {a: {x: 1, y: 0, l: [0]}, b: {y: 1, l: [1]}, c: {x: 3, y: 2, l: [2, 7]}, d: {x: 1, y: 3, l: [3, 7]}, e: {x: 1}, f: {x: 2}});
    const or = (...f) => found(c.where(Filter.or(...f.map(g => Filter.where(...g)))));
    const and = (...f) => Filter.and(...f.map(g => Filter.where(...g)));
    return [
      await or(['x', '==', 1], ['y', '==', 1]), await found(c.where(Filter.or(and(['x', '==', 1], ['y', '==', 0]), and(['x', '==', 3], ['y', '==', 2])))), await or(['x', '==', 2], ['y', 'in', [2, 3]]), await or(['x', '==', 2], ['l', 'array-contains', 7]), await or(['x', '==', 2], ['l', 'array-contains-any', [0, 3]]),
    ];
  },
  'or with an inequality': async id => {
    const c = await seed(things(id), {a: {x: 1, y: 0}, b: {y: 1}, c: {x: 3, y: 2}, d: {x: 1, y: 3}, e: {x: 1}, f: {x: 2}});
    const or = (...f) => c.where(Filter.or(...f.map(g => Filter.where(...g))));
    return [await found(or(['x', '>', 2], ['y', '==', 1])), await found(or(['x', '==', 1], ['y', '==', 1]).orderBy('x')), await found(or(['x', '==', 1], ['y', '>', 0]).orderBy('y').limitToLast(2))];
  },
  'or with not-in': id => found(things(id).where(Filter.or(Filter.where('x', '==', 2), Filter.where('y', 'not-in', [2, 3])))),
  'inequalities with other filters': async id => {
    const c = await seed(things(id), {a: {key: 'a', sort: 0, v: 0}, b: {key: 'b', sort: 3, v: 1}, c: {key: 'c', sort: 1, v: 3}, d: {key: 'd', sort: 2, v: 2}, e: {key: 'e', sort: NaN, v: 2}, f: {key: 'f', sort: null, v: 3}});
    const low = c.where('key', '>=', 'a').where('sort', '<=', 2);
    return [
      await found(c.where('key', '!=', 'a').where('sort', '<=', 2).where('v', '>', 2)), await found(low.where('v', 'in', [2, 3, 4])), await found(low.where('v', 'not-in', [2, 4])),
      await found(low.orderBy('v', 'desc').limit(2)), await found(low.orderBy('v', 'desc').limitToLast(2)), (await low.count().get()).data().count, await found(low.where(FieldPath.documentId(), '<', 'd')),
    ];
  },
  'inequalities and where a cursor is': async id => {
    const c = await seed(things(id), {a: {key: 'a', sort: 5, v: 0}, b: {key: 'aa', sort: 4, v: 0}, c: {key: 'b', sort: 3, v: 1}, d: {key: 'b', sort: 2, v: 1}, e: {key: 'bb', sort: 1, v: 1}});
    const q = c.where('sort', '>=', 1).where('key', '>', 'a');
    const at = await c.doc('c').get();
    return [await found(q.startAt(at)), await found(q.orderBy('v').startAt(at)), await found(q.orderBy('v', 'desc').startAt(at)), await found(q.orderBy('v', 'desc').orderBy('sort').startAt(at))];
  },
  'inequalities in or': async id => {
    const c = await seed(things(id), {a: {key: 'a', sort: 0, v: 5}, b: {key: 'aa', sort: 4, v: 4}, c: {key: 'c', sort: 3, v: 3}, d: {key: 'b', sort: 2, v: 2}, e: {key: 'b', sort: 2, v: 1}, f: {key: 'b', sort: 0, v: 0}});
    return found(c.where(Filter.or(Filter.and(Filter.where('key', '==', 'b'), Filter.where('sort', '<=', 2)), Filter.and(Filter.where('key', '!=', 'b'), Filter.where('v', '>', 4)))));
  },
  'inequalities and arrays': async id => {
    const c = await seed(things(id), {a: {key: 'a', sort: 0, l: [0]}, b: {key: 'b', sort: 1, l: [0, 1, 3]}, c: {key: 'c', sort: 1, l: []}, d: {key: 'd', sort: 2, l: [1]}, e: {key: 'e', sort: 4, l: [null]}});
    const q = c.where('key', '!=', 'a').where('sort', '>=', 1);
    return [await found(q.where('l', 'array-contains', 0)), await found(q.where('l', 'array-contains-any', [0, 1]))];
  },
  'inequalities in maps': async id => {
    const room = n => ({name: `room ${n}`, m: {at: n}, 'dot.ted': n, 'back\\slash': n});
    const c = await seed(things(id), {a: room(400), b: room(200), c: room(100), d: room(300)});
    const q = c.where('m.at', '<=', 500).where('m.at', '>', 100).where('name', '!=', 'room 200').orderBy('name');
    const r = c.where(new FieldPath('dot.ted'), '!=', 300).where(new FieldPath('back\\slash'), '<', 400).orderBy('name', 'desc');
    return [await found(q), await found(q.startAt(await c.doc('d').get())), await found(r), await found(r.startAt(await c.doc('b').get()))];
  },
  'listDocuments of many': async id => {
    const c = await seed(things(id), Object.fromEntries(Array.from({length: 400}, (_, i) => [String(i).padStart(3, '0'), {}])));
    const all = (await c.listDocuments()).map(d => d.id);
    return [all.length, all[0], all.at(-1)];
  },
  'listCollections of many': async id => {
    const doc = things(id).doc('a');
    const batch = db.batch();
    for (let i = 0; i < 400; i++) batch.create(doc.collection(String(i).padStart(3, '0')).doc('x'), {});
    await batch.commit();
    const all = (await doc.listCollections()).map(c => c.id);
    return [all.length, all.every((name, i) => Number(name) === i)];
  },
  'findNearest of what is no such vector': async id => {
    const c = await seed(things(id), {a: {at: [1, 1]}, b: {at: 'text'}, c: {at: null}, d: {at: FieldValue.vector([1])}, e: {at: FieldValue.vector([9, 9])}, f: {}});
    return found(nearest(c));
  },
  'findNearest in a map': async id => {
    const c = await seed(things(id), {a: {m: {at: FieldValue.vector([1, 0])}}, b: {m: {at: FieldValue.vector([5, 5])}}, c: {m: {}}});
    return found(c.findNearest({vectorField: 'm.at', queryVector: [4, 4], limit: 3, distanceMeasure: 'EUCLIDEAN'}));
  },
  'findNearest with select': async id => (await nearest((await vectors(things(id))).select('kind', 'far'), {distanceResultField: 'far', distanceMeasure: 'DOT_PRODUCT', distanceThreshold: 1}).get()).docs.map(data),
  'findNearest over a field of that name': async id => {
    const c = await seed(things(id), {a: {at: FieldValue.vector([0, 1]), far: '100 miles'}});
    return (await nearest(c, {queryVector: [1, 0], distanceMeasure: 'COSINE', distanceResultField: 'far'}).get()).docs.map(d => d.get('far'));
  },
  'findNearest at its limits': async id => {
    const c = await seed(things(id), {a: {long: FieldValue.vector(Array.from({length: 2048}, (_, i) => i))}});
    const snap = await c.findNearest({vectorField: 'long', queryVector: Array(2048).fill(1), limit: 1000, distanceMeasure: 'EUCLIDEAN'}).get();
    return [snap.size, snap.docs[0].get('long').toArray().length];
  },
  'findNearest with a converter': async id => {
    const q = (await vectors(things(id))).withConverter({toFirestore: v => v, fromFirestore: s => s.data().at.toArray()});
    return (await nearest(q, {limit: 1}).get()).docs.map(d => d.data());
  },
  'aliases of aggregates': async id => {
    const c = await numbers(things(id));
    const names = ['foo', 'with.dots', 'with-un/su+pp[or]ted', '`ticks`', 'back\\slash'];
    const one = (await c.aggregate(Object.fromEntries(names.map(n => [n, AggregateField.count()]))).get()).data();
    const long = 'a'.repeat(15_000);
    return [plain(one), (await c.aggregate({[long]: AggregateField.count()}).get()).data()[long]];
  },
  'sums and averages of numbers': async id => {
    const of = async values => {
      const c = await seed(things(`${id}-${JSON.stringify(values).length}-${String(values[0])}`), Object.fromEntries(values.map((v, i) => [`d${i}`, {n: v}])));
      const {sum, average} = (await c.aggregate({sum: AggregateField.sum('n'), average: AggregateField.average('n')}).get()).data();
      return plain([sum, average]);
    };
    return [
      await of([5, 4.5, 3.5]), await of([10, 5, 0]), await of([10, 9]), await of([5, 4, '3', 6, null]), await of([5, NaN]), await of([Number.MAX_SAFE_INTEGER, 1, -101]), await of([Number.MAX_VALUE, Number.MAX_VALUE]),
      await of([-Number.MAX_VALUE, -Number.MAX_VALUE]), await of([Number.MIN_VALUE]), await of([Number.MIN_VALUE, 0]),
    ];
  },
  'aggregates of orders and cursors': async id => {
    const c = await seed(things(id), {a: {n: 5, m: {n: 1}}, b: {n: 7, m: {n: 3}}});
    const sum = async (q, f = 'n') => (await q.aggregate({sum: AggregateField.sum(f)}).get()).data().sum;
    const a = await c.doc('a').get();
    return [
      await sum(c), await sum(c.where('n', '==', 5)), await sum(c.where('n', '>', 5)), await sum(c.orderBy('n')), await sum(c.where('n', '==', 5).orderBy('n')), await sum(c.orderBy('n').startAfter(5)), await sum(c.orderBy('n').startAfter(a)),
      await sum(c.where('n', '>', 0).startAfter(a)), await sum(c.where('n', 'in', [5, 3])), await sum(c, 'm.n'),
    ];
  },
  'aggregates of several fields': async id => {
    const c = await seed(things(id), {a: {n: 100, m: 1980, l: [5]}, b: {n: 50, m: 2020, l: [4]}, c: {n: NaN, m: 2021, l: [3]}, d: {n: 50}});
    const of = async q => plain((await q.aggregate({n: AggregateField.sum('n'), m: AggregateField.average('m'), count: AggregateField.count()}).get()).data());
    return [await of(c), await of(c.where('l', 'array-contains-any', [5, 4]))];
  },
  'count of orders and cursors': async id => {
    const c = await numbers(things(id));
    const at = await c.doc('c').get();
    const count = async q => (await q.count().get()).data().count;
    return [await count(c.orderBy('n')), await count(c.orderBy('none')), await count(c.startAfter(at)), await count(c.startAt(at)), await count(c.endAt(at)), await count(c.endBefore(at)), await count(c.offset(3)), await count(c.orderBy(FieldPath.documentId()).startAfter(c.doc('c')))];
  },
  'count in a transaction': async id => {
    const c = things(id);
    const {writeTime} = await c.doc('a').create({n: 1});
    const at = readTime => db.runTransaction(async tx => (await tx.get(c.count())).data().count, {readOnly: true, readTime});
    return [await db.runTransaction(async tx => (await tx.get(c.where('n', '==', 1).limit(5).count())).data().count), await at(writeTime), await at(Timestamp.fromMillis(writeTime.toMillis() - 1))];
  },
  'aggregates without their index': id => things(id).where('a', '==', 1).where('b', '<', 2).aggregate({sum: AggregateField.sum('c')}).get().then(() => 'done'),
  'a transaction that meets another': async id => {
    const ref = things(id).doc('a');
    let attempts = 0;
    await Promise.all(['x', 'y'].map(name => db.runTransaction(async tx => {
      attempts++;
      await tx.get(ref);
      tx.set(ref, {[name]: true}, {merge: true});
    })));
    return [attempts >= 2, data(await ref.get())];
  },
  'a transaction whose update finds nothing': async id => {
    let attempts = 0;
    const code = await db.runTransaction(async tx => (attempts++, tx.update(things(id).doc('none'), {n: 1}))).catch(err => err.code);
    return [code, attempts];
  },
  'BulkWriter to one document': async id => {
    const ref = things(id).doc('a');
    const w = db.bulkWriter();
    const both = [w.set(ref, {n: 1}), w.set(ref, {n: 2})];
    await w.close();
    return [(await Promise.all(both)).length, (await ref.get()).exists];
  },
  'recursiveDelete of a part': async id => {
    const c = await seed(things(id), {anna: {}, bob: {}});
    const below = c.doc('bob').collection('below');
    await seed(below, {x: {}, y: {}});
    await below.doc('y').collection('deep').doc('z').set({});
    const other = await seed(things(`${id}-2`), {a: {}});
    let written = 0;
    const w = db.bulkWriter();
    w.onWriteResult(() => written++);
    await db.recursiveDelete(below.doc('x'), w);
    await db.recursiveDelete(below, w);
    await w.close();
    return [written, await found(c), (await below.listDocuments()).length, await found(other)];
  },
  'more than 100 listeners': async id => {
    const c = things(id);
    const all = Array.from({length: 150}, (_, i) => events(c.where('n', '>', i)));
    for (const e of all) await e.next();
    await c.doc('a').set({n: 1000});
    let heard = 0;
    for (const e of all) {
      heard += (await e.next()).size;
      e.stop();
    }
    return heard;
  },
  'onSnapshot of vectors': async id => {
    const ref = things(id).doc('a');
    const e = events(things(id).where('kind', '==', 'v'));
    const seen = [ids(await e.next())];
    for (const write of [() => ref.create({kind: 'v', at: FieldValue.vector([0])}), () => ref.update({at: FieldValue.vector([-1, 3.99])}), () => ref.delete()]) {
      await write();
      seen.push((await e.next()).docs.map(data));
    }
    e.stop();
    return seen;
  },
  'onSnapshot with a converter': async id => {
    await seed(things(id), {a: {n: 3}});
    const e = events(things(id).withConverter({toFirestore: v => v, fromFirestore: s => 'a'.repeat(s.data().n)}));
    const seen = (await e.next()).docs.map(d => d.data());
    e.stop();
    return seen;
  },
  'onSnapshot orders as get': async id => {
    const words = {a: 'Łuk', b: 'Sier', c: '岩澤', d: '🄟', e: 'Ｐ', f: '︒', g: '🐵', h: '你好', i: '你顥', j: '😁', k: '😀'};
    const sets = [
      Object.fromEntries(Object.entries(words).map(([k, w]) => [k, {v: w}])), Object.fromEntries(Object.entries(words).map(([k, w]) => [k, {v: [w]}])), Object.fromEntries(Object.entries(words).map(([k, w]) => [k, {v: {x: w}}])),
      Object.fromEntries(Object.entries(words).map(([k, w]) => [k, {v: {[w]: true}}])), Object.fromEntries(Object.values(words).map(w => [w, {v: 1}])),
      {a: {v: 1}, A: {v: 1}, 7: {v: 1}, 12: {v: 1}, __id7__: {v: 1}, __id12__: {v: 1}, '__id-2__': {v: 1}, __id: {v: 1}, '__id9223372036854775807__': {v: 1}, '__id-9223372036854775808__': {v: 1}},
      {a: {v: FieldValue.vector([100])}, b: {v: FieldValue.vector([-100])}, c: {v: FieldValue.vector([1, 2])}, d: {v: [1, 2, 3]}, e: {v: {x: 1}}, f: {v: FieldValue.vector([Infinity])}},
    ];
    const seen = [];
    for (const [i, docs] of sets.entries()) {
      const q = (await seed(things(`${id}-${i}`), docs)).orderBy('v');
      const e = events(q);
      const [listened, got] = [ids(await e.next()), await found(q)];
      e.stop();
      seen.push([listened.join() === got.join(), got]);
    }
    return seen;
  },
  'ids between numeric ones': async id => found((await seed(things(id), {A: {}, a: {}, 12: {}, __id7__: {}, __id12__: {}, '__id-2__': {}})).where(FieldPath.documentId(), '>', '__id7__').where(FieldPath.documentId(), '<=', 'A')),
  'a client that was terminated': async id => {
    const other = new Firestore({projectId});
    await things(id, other).doc('a').set({});
    await other.terminate();
    await things(id, other).doc('a').set({});
  },
  'terminate, then a new client': async id => {
    const other = new Firestore({projectId});
    await things(id, other).doc('a').set({n: 1});
    await other.terminate();
    return data(await things(id).doc('a').get());
  },
  'terminate with a listener, and with writes to come': async id => {
    const other = new Firestore({projectId});
    const listener = events(things(id, other));
    await listener.next();
    const listening = await other.terminate().catch(String);
    listener.stop();
    const writer = other.bulkWriter();
    const written = writer.set(things(id, other).doc('a'), {n: 1});
    const writing = await other.terminate().catch(String);
    await writer.close();
    await written;
    await other.terminate();
    return [listening, writing, data(await things(id).doc('a').get())];
  },
  'an aggregate under way at terminate': async id => {
    const other = new Firestore({projectId});
    things(id, other).count().get().catch(() => {}); // no answer comes any more
    await other.terminate();
    return (await things(id).count().get()).data().count;
  },
  'an aggregate of a converter, and one not asked for': async id => {
    const c = (await numbers(things(id))).withConverter({toFirestore: v => v, fromFirestore: () => { throw new Error('converted'); }});
    const all = (await c.count().get()).data();
    return [all.count, all.sum === undefined];
  },

  // preferRest.
  'preferRest: documents': async id => {
    const c = things(id, rest);
    await c.doc('a').set({n: 1, at: new Timestamp(1, 5000), geo: new GeoPoint(1, 2), bytes: Buffer.from('a'), ref: c.doc('b'), big: 2 ** 53, nan: NaN});
    await c.doc('a').update({n: FieldValue.increment(1)});
    return [data(await c.doc('a').get()), (await c.doc('none').get()).exists];
  },
  'preferRest: queries': async id => {
    const c = await numbers(things(id, rest));
    return [await found(c.where('n', '>', 1).orderBy('n')), (await c.count().get()).data().count, ids(await c.orderBy('n').limitToLast(2).get())];
  },
  'preferRest: errors': id => things(id, rest).doc('none').update({n: 1}),
  'preferRest: a transaction': async id => {
    const ref = things(id, rest).doc('a');
    await ref.set({n: 1});
    await rest.runTransaction(async tx => {
      const n = (await tx.get(ref)).get('n');
      tx.update(ref, {n: n + 1});
    });
    return data(await ref.get());
  },
  'preferRest: a batch and BulkWriter': async id => {
    const c = await seed(things(id, rest), {a: {}, b: {}});
    const w = rest.bulkWriter();
    const failed = w.create(c.doc('a'), {}).catch(err => err.code);
    w.create(c.doc('c'), {});
    await w.close();
    return [await failed, await found(c)];
  },
  'preferRest: lists': async id => {
    const c = await seed(things(id, rest), {a: {}, b: {}});
    await c.doc('m').collection('below').doc('x').set({});
    return [(await c.listDocuments()).map(d => d.id), (await c.doc('m').listCollections()).map(d => d.id), (await rest.getAll(c.doc('a'), c.doc('none'))).map(s => s.exists)];
  },
  'preferRest: onSnapshot': async id => {
    const c = await seed(things(id, rest), {a: {}});
    const e = events(c);
    const seen = ids(await e.next());
    e.stop();
    return seen;
  },
};

module.exports = {rows};
