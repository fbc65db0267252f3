// Exports messages to messages.csv. It may be interrupted and run again: then it attaches to the same job.
import { Client, save } from 'exportd-client/node';

const { URL: baseUrl, KEY: key, SECRET: secret, W: workspaceId, M: mediumId, FROM: from, TO: to } = process.env;
const client = new Client({ baseUrl, key, secret });
const result = await client.export({ kind: 'vip-messages', params: { workspaceId, mediumId, from, to } });
await save(client, result.job, 'messages.csv');
console.log('messages.csv has', result.totalCount, 'rows');
