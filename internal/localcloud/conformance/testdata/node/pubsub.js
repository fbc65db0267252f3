'use strict';
const {PubSub, v1} = require('@google-cloud/pubsub');

const projectId = 'demo-clients';
const pubsub = new PubSub({projectId});

// made is a topic and a subscription to it, of a row's own.
async function made(id, options) {
  const [topic] = await pubsub.createTopic(`topic-${id}`);
  const [subscription] = await topic.createSubscription(`sub-${id}`, options);
  return {topic, subscription};
}

// received takes messages until there are enough, and acknowledges them unless told otherwise.
function received(subscription, n, take = m => m.ack()) {
  return new Promise((resolve, reject) => {
    const all = [];
    subscription.on('error', reject);
    subscription.on('message', m => {
      all.push(m);
      take(m, all.length);
      if (all.length === n) subscription.close().then(() => resolve(all), reject);
    });
  });
}
const texts = messages => messages.map(m => m.data.toString());
const sorted = messages => texts(messages).sort();
const publish = (topic, text, more) => topic.publishMessage({data: Buffer.from(text), ...more});
// last is the last element of a name, whose project may be shown by a number.
const last = name => name.split('/').at(-1);

// The client's low level, of which a pull is one call.
async function pull(subscription, maxMessages = 10) {
  const client = await subscriber();
  const [answer] = await client.pull({subscription: subscription.name, maxMessages});
  return answer.receivedMessages;
}
const subscriber = async () => new v1.SubscriberClient(await pubsub.getClientConfig());

const rows = {
  // Topics.
  'createTopic': async id => last((await pubsub.createTopic(`topic-${id}`))[0].name),
  'createTopic of what is there': async id => {
    await pubsub.createTopic(`topic-${id}`);
    await pubsub.createTopic(`topic-${id}`);
  },
  'createTopic of a name that is none': () => pubsub.createTopic('1a').then(() => 'done'),
  'createTopic with labels': async id => {
    await pubsub.createTopic({name: `topic-${id}`, labels: {a: 'b'}});
    return (await pubsub.topic(`topic-${id}`).getMetadata())[0].labels;
  },
  'topic exists': async id => {
    await pubsub.createTopic(`topic-${id}`);
    return [(await pubsub.topic(`topic-${id}`).exists())[0], (await pubsub.topic(`none-${id}`).exists())[0]];
  },
  'topic get with autoCreate': async id => last((await pubsub.topic(`topic-${id}`).get({autoCreate: true}))[0].name),
  'getMetadata of no topic': id => pubsub.topic(`none-${id}`).getMetadata().then(() => 'done'),
  'getTopics': async id => {
    for (const part of ['a', 'b', 'c']) await pubsub.createTopic(`list-${id}-${part}`);
    const [all] = await pubsub.getTopics();
    const [page] = await pubsub.getTopics({pageSize: 2, autoPaginate: false});
    return [all.map(t => last(t.name)).filter(n => n.startsWith(`list-${id}-`)).map(n => n.slice(-1)), page.length];
  },
  'setMetadata of a topic': async id => {
    const [topic] = await pubsub.createTopic(`topic-${id}`);
    await topic.setMetadata({labels: {c: 'd'}});
    return (await topic.getMetadata())[0].labels;
  },
  'delete a topic': async id => {
    const [topic] = await pubsub.createTopic(`topic-${id}`);
    await topic.delete();
    return (await topic.exists())[0];
  },
  'delete no topic': id => pubsub.topic(`none-${id}`).delete().then(() => 'done'),
  'testPermissions': async id => (await (await pubsub.createTopic(`topic-${id}`))[0].iam.testPermissions(['pubsub.topics.publish']))[0],

  // Publishing.
  'publishMessage': async id => {
    const {topic} = await made(id);
    return [await publish(topic, 'a'), await publish(topic, 'b')].map(n => typeof n === 'string' && n.length > 0);
  },
  'publish JSON with attributes': async id => {
    const {topic, subscription} = await made(id);
    await topic.publishMessage({json: {n: 1}, attributes: {kind: 'x', empty: ''}});
    const [m] = await received(subscription, 1);
    return [JSON.parse(m.data), m.attributes, m.publishTime.getTime() > 0, m.deliveryAttempt];
  },
  'publish attributes alone': async id => {
    const {topic, subscription} = await made(id);
    await topic.publishMessage({attributes: {kind: 'x'}});
    const [m] = await received(subscription, 1);
    return [m.data.length, m.attributes];
  },
  'publish nothing': async id => publish((await made(id)).topic, ''),
  'publish to no topic': id => publish(pubsub.topic(`none-${id}`), 'a'),
  'publish what is too large': async id => publish((await made(id)).topic, 'a'.repeat(10_000_001)),
  'publish in batches': async id => {
    const {subscription} = await made(id);
    const topic = pubsub.topic(`topic-${id}`, {batching: {maxMessages: 50, maxMilliseconds: 10}});
    const ids = await Promise.all(Array.from({length: 200}, (_, i) => publish(topic, String(i))));
    const all = await received(subscription, 200);
    return [new Set(ids).size, new Set(texts(all)).size];
  },
  'publish with an ordering key': async id => {
    await made(id, {enableMessageOrdering: true});
    const topic = pubsub.topic(`topic-${id}`, {messageOrdering: true});
    await Promise.all(Array.from({length: 20}, (_, i) => publish(topic, String(i), {orderingKey: 'k'})));
    const all = await received(pubsub.subscription(`sub-${id}`), 20);
    return [texts(all).every((t, i) => t === String(i)), all[0].orderingKey];
  },
  'publish what is large': async id => {
    const {topic, subscription} = await made(id);
    await publish(topic, 'a'.repeat(5_000_000));
    return (await received(subscription, 1))[0].data.length;
  },

  // Subscriptions.
  'createSubscription': async id => {
    const {subscription} = await made(id);
    const [m] = await subscription.getMetadata();
    return [last(m.name), last(m.topic), m.ackDeadlineSeconds, m.messageRetentionDuration, m.retainAckedMessages, m.enableMessageOrdering, m.filter, m.detached, m.state];
  },
  'createSubscription of what is there': async id => {
    const {topic} = await made(id);
    await topic.createSubscription(`sub-${id}`);
  },
  'createSubscription to no topic': id => pubsub.topic(`none-${id}`).createSubscription(`sub-${id}`).then(() => 'done'),
  'createSubscription with settings': async id => {
    const [dead] = await pubsub.createTopic(`dead-${id}`);
    const {subscription} = await made(id, {
      ackDeadlineSeconds: 77, messageRetentionDuration: 3600, labels: {a: 'b'}, filter: 'attributes.kind = "x"', enableMessageOrdering: true,
      retryPolicy: {minimumBackoff: {seconds: 1}, maximumBackoff: {seconds: 2}}, deadLetterPolicy: {deadLetterTopic: dead.name, maxDeliveryAttempts: 7},
    });
    const [m] = await subscription.getMetadata();
    return [m.ackDeadlineSeconds, m.messageRetentionDuration.seconds, m.labels, m.filter, m.enableMessageOrdering, m.retryPolicy.maximumBackoff.seconds, last(m.deadLetterPolicy.deadLetterTopic), m.deadLetterPolicy.maxDeliveryAttempts];
  },
  'a deadline of more than 600 s': id => made(id, {ackDeadlineSeconds: 601}).then(() => 'done'),
  'a deadline of less than 10 s': id => made(id, {ackDeadlineSeconds: 9}).then(() => 'done'),
  'a filter that is none': id => made(id, {filter: 'kind =='}).then(() => 'done'),
  'subscription exists': async id => {
    const {subscription} = await made(id);
    return [(await subscription.exists())[0], (await pubsub.subscription(`none-${id}`).exists())[0]];
  },
  'setMetadata of a subscription': async id => {
    const {subscription} = await made(id);
    await subscription.setMetadata({ackDeadlineSeconds: 30, labels: {a: 'b'}});
    const [m] = await subscription.getMetadata();
    return [m.ackDeadlineSeconds, m.labels];
  },
  'getSubscriptions': async id => {
    const {topic} = await made(id);
    await topic.createSubscription(`sub-${id}-2`);
    const [ofTopic] = await topic.getSubscriptions();
    const [all] = await pubsub.getSubscriptions();
    return [ofTopic.map(s => last(s.name).slice(`sub-${id}`.length)), all.filter(s => [`sub-${id}`, `sub-${id}-2`].includes(last(s.name))).length];
  },
  'delete a subscription': async id => {
    const {subscription} = await made(id);
    await subscription.delete();
    return (await subscription.exists())[0];
  },
  'a subscription whose topic is deleted': async id => {
    const {topic, subscription} = await made(id);
    await publish(topic, 'a');
    await topic.delete();
    return [(await subscription.getMetadata())[0].topic, texts(await received(subscription, 1))];
  },
  'detachSubscription': async id => {
    const {subscription} = await made(id);
    await pubsub.detachSubscription(`sub-${id}`);
    return [(await subscription.detached())[0], await pull(subscription).catch(err => err.code)];
  },
  'modifyPushConfig to pull': async id => {
    const {subscription} = await made(id);
    await subscription.modifyPushConfig({pushEndpoint: ''});
    return (await subscription.getMetadata())[0].pushConfig.pushEndpoint;
  },

  // Receiving.
  'receive and ack': async id => {
    const {topic, subscription} = await made(id);
    for (const t of ['a', 'b', 'c']) await publish(topic, t);
    return sorted(await received(subscription, 3));
  },
  'nack': async id => {
    const {topic, subscription} = await made(id);
    await publish(topic, 'a');
    return texts(await received(subscription, 2, (m, n) => (n === 1 ? m.nack() : m.ack())));
  },
  'each subscription has all': async id => {
    const {topic, subscription} = await made(id);
    const [other] = await topic.createSubscription(`sub-${id}-2`);
    await publish(topic, 'a');
    return [texts(await received(subscription, 1)), texts(await received(other, 1))];
  },
  'nothing from before the subscription': async id => {
    const [topic] = await pubsub.createTopic(`topic-${id}`);
    await publish(topic, 'before');
    const [subscription] = await topic.createSubscription(`sub-${id}`);
    await publish(topic, 'after');
    return texts(await received(subscription, 1));
  },
  'two receivers share': async id => {
    const {topic} = await made(id);
    const halves = [0, 1].map(() => pubsub.subscription(`sub-${id}`, {flowControl: {maxMessages: 1}}));
    const all = [];
    const done = new Promise((resolve, reject) => halves.forEach(s => s.on('error', reject).on('message', m => {
      all.push(m);
      m.ack();
      if (all.length === 10) resolve();
    })));
    for (let i = 0; i < 10; i++) await publish(topic, String(i));
    await done;
    await Promise.all(halves.map(s => s.close()));
    return sorted(all);
  },
  'a filter': async id => {
    const {topic, subscription} = await made(id, {filter: 'attributes.kind = "x" AND NOT attributes:skip'});
    for (const attributes of [{kind: 'y'}, {kind: 'x', skip: ''}, {}, {kind: 'x'}]) await topic.publishMessage({data: Buffer.from(JSON.stringify(attributes)), attributes});
    return texts(await received(subscription, 1));
  },
  'a dead letter': async id => {
    const [dead] = await pubsub.createTopic(`dead-${id}`);
    const [letters] = await dead.createSubscription(`letters-${id}`);
    const {topic, subscription} = await made(id, {deadLetterPolicy: {deadLetterTopic: dead.name, maxDeliveryAttempts: 5}});
    await publish(topic, 'a', {attributes: {kind: 'x'}});
    const attempts = (await received(subscription, 5, m => m.nack())).map(m => m.deliveryAttempt);
    const [letter] = await received(letters, 1);
    return [attempts, letter.data.toString(), letter.attributes.kind, letter.attributes.CloudPubSubDeadLetterSourceSubscription, letter.attributes.CloudPubSubDeadLetterSourceDeliveryCount];
  },
  'pull and acknowledge': async id => {
    const {topic, subscription} = await made(id);
    await publish(topic, 'a');
    const client = await subscriber();
    const [m] = await pull(subscription);
    await client.modifyAckDeadline({subscription: subscription.name, ackIds: [m.ackId], ackDeadlineSeconds: 60});
    await client.acknowledge({subscription: subscription.name, ackIds: [m.ackId]});
    return m.message.data.toString();
  },
  'a deadline of 0 gives it back': async id => {
    const {topic, subscription} = await made(id);
    await publish(topic, 'a');
    const client = await subscriber();
    const [m] = await pull(subscription);
    await client.modifyAckDeadline({subscription: subscription.name, ackIds: [m.ackId], ackDeadlineSeconds: 0});
    const [again] = await pull(subscription);
    return again.message.messageId === m.message.messageId;
  },
  'receive from no subscription': id => received(pubsub.subscription(`none-${id}`), 1),

  // Seeking.
  'seek to now': async id => {
    const {topic, subscription} = await made(id);
    await publish(topic, 'before');
    await subscription.seek(new Date(Date.now() + 1000));
    await publish(topic, 'after');
    return texts(await received(subscription, 1));
  },
  'a snapshot': async id => {
    const {topic, subscription} = await made(id);
    await publish(topic, 'a');
    const [snapshot] = await subscription.createSnapshot(`snap-${id}`);
    const first = texts(await received(subscription, 1));
    await subscription.seek(`snap-${id}`);
    const again = texts(await received(pubsub.subscription(`sub-${id}`), 1));
    await snapshot.delete();
    return [first, again];
  },
  'getSnapshots': async () => (await pubsub.getSnapshots())[0].filter(s => s.name.includes('nothing')).length,

  // What else there is.
  'exactly once': async id => {
    const {topic} = await made(id, {enableExactlyOnceDelivery: true});
    await publish(topic, 'a');
    let answer;
    await received(pubsub.subscription(`sub-${id}`), 1, m => (answer = m.ackWithResponse()));
    return answer;
  },
  'listSchemas': async () => {
    const names = [];
    for await (const s of pubsub.listSchemas()) names.push(s.name);
    return names;
  },
  'createSchema': async id => (await pubsub.createSchema(`schema-${id}`, 'AVRO', '{"type": "record", "name": "A", "fields": [{"name": "n", "type": "int"}]}')).id,
  'another project': async id => {
    const other = new PubSub({projectId: 'demo-clients-2'});
    await other.createTopic(`topic-${id}`);
    return [(await other.topic(`topic-${id}`).exists())[0], (await pubsub.topic(`topic-${id}`).exists())[0]];
  },
};

module.exports = {rows};
