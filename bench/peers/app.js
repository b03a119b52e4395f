// app.js
//    The application of the usual tutorial: it changes a row, and once its commit is acknowledged it
//    publishes the row's keys itself. With the worker of the same tutorial: tutorial_worker.js.
//
//    node app.js write MODE CLIENTS SECONDS   transactions of so many connections: what bench/writers.c does
//    node app.js delay MODE COUNT             from an acknowledged commit to the deleted key, one by one:
//                                             what bench/latency.c does
//
// MODE: none (no message), publish (without confirms, as tutorials do), confirm (awaits the confirm).
// Reads PGHOST, PGPORT, PGDATABASE, PGUSER, PGOPTIONS, BENCH_AMQP_URL, BENCH_REDIS_URL. One JSON object.
'use strict';
const amqp = require('amqplib');
const Redis = require('ioredis');
const { Client } = require('pg');

const QUEUE = 'cache-invalidation';
const TABLE = 'bench.plain';
const WRITERS_ROWS = 90000; // of 100,000: the rest is for single keys
const AUTHORS = 1000;
const WARM_UP_COUNT = 20;
const MAX_PAUSE_MS = 4;

const now = () => Number(process.hrtime.bigint()) / 1e6;

async function connectPostgres() {
  const client = new Client({ options: process.env.PGOPTIONS });
  await client.connect();
  return client;
}

// A function that publishes the keys of a row, as the mode has it.
async function publisher(mode) {
  if (mode === 'none') return async () => {};
  const connection = await amqp.connect(process.env.BENCH_AMQP_URL);
  const channel = mode === 'confirm' ? await connection.createConfirmChannel() : await connection.createChannel();
  await channel.assertQueue(QUEUE, { durable: true });
  return (id) => {
    const body = Buffer.from(JSON.stringify({ keys: ['blogs:all', `blog:${id}`, `author:${id % AUTHORS}:blogs`] }));
    if (mode !== 'confirm') {
      channel.sendToQueue(QUEUE, body, { persistent: true });
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      channel.sendToQueue(QUEUE, body, { persistent: true }, (error) => (error ? reject(error) : resolve()));
    });
  };
}

function change(client, id) {
  return client.query({ name: 'write', text: `UPDATE ${TABLE} SET views = views + 1 WHERE id = $1`, values: [id] });
}

async function writeRows(client, publish, index, clients, until, times) {
  for (let count = 0; now() < until; count++) {
    const id = (((count * clients + index) * 7919) % WRITERS_ROWS) + 1;
    const sent = now();
    await change(client, id);
    await publish(id);
    times.push(now() - sent);
  }
}

async function write(mode, clients, seconds) {
  const publish = await publisher(mode);
  const connections = await Promise.all(Array.from({ length: clients }, connectPostgres));
  const times = [];
  const cpu = process.cpuUsage();
  const began = now();
  await Promise.all(connections.map((client, index) =>
    writeRows(client, publish, index, clients, began + seconds * 1000, times)));
  const took = (now() - began) / 1000;
  const spent = process.cpuUsage(cpu);
  times.sort((a, b) => a - b);
  const percentile = (percent) => times[Math.max(0, Math.ceil((times.length * percent) / 100) - 1)];
  return {
    clients,
    transactions: times.length,
    seconds: took,
    rate: times.length / took,
    client_cpu_us: (spent.user + spent.system) / times.length,
    median_ms: percentile(50),
    p99_ms: percentile(99),
    max_ms: percentile(100),
  };
}

async function delay(mode, count) {
  const publish = await publisher(mode);
  const client = await connectPostgres();
  const redis = new Redis(process.env.BENCH_REDIS_URL);
  const subscription = new Redis(process.env.BENCH_REDIS_URL);
  let gone = () => {};
  await redis.config('SET', 'notify-keyspace-events', 'Eg');
  await subscription.psubscribe('__keyevent@*__:del');
  subscription.on('pmessage', (pattern, channel, key) => gone(key));
  const timesUs = [];
  const sinceSentUs = [];
  for (let i = -WARM_UP_COUNT; i < count; i++) {
    const id = WRITERS_ROWS + WARM_UP_COUNT + i + 1;
    await redis.set(`blog:${id}`, 1);
    const deleted = new Promise((resolve) => {
      gone = (key) => { if (key === `blog:${id}`) resolve(now()); };
    });
    const sent = now();
    await change(client, id);
    const committed = now();
    await publish(id);
    const time = await deleted;
    if (i >= 0) {
      timesUs.push(Math.round((time - committed) * 1000));
      sinceSentUs.push(Math.round((time - sent) * 1000));
    }
    await new Promise((resolve) => setTimeout(resolve, Math.random() * MAX_PAUSE_MS));
  }
  // As by default: told of each deleted key, Redis deletes a third as many.
  await redis.config('SET', 'notify-keyspace-events', '');
  return { times_us: timesUs, since_sent_us: sinceSentUs };
}

async function main([what, mode, ...numbers]) {
  const result = await (what === 'delay' ? delay : write)(mode, ...numbers.map(Number));
  console.log(JSON.stringify(result));
  process.exit(0);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
