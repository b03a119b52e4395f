// transactional_outbox.js
//    npm's pg-transactional-outbox as its documentation has it, with RabbitMQ at the end.
//
//    node transactional_outbox.js setup   its table, its function, its publication and slot
//    node transactional_outbox.js poll    its polling listener: as many messages at once as it likes,
//                                         each 100 ms (its default: 5 messages, 500 ms)
//    node transactional_outbox.js log     its listener by logical replication
//
// Messages are marked as parallel, which lets both do several at
// once. Reads PGHOST, PGPORT, PGDATABASE,
// PGUSER, BENCH_AMQP_URL. Says "ready" once it is.
'use strict';
const amqp = require('amqplib');
const { Client } = require('pg');
const outbox = require('pg-transactional-outbox');

const QUEUE = 'cache-invalidation';
const SLOT = 'bench_slot';
const PUBLICATION = 'bench_publication';
const BATCH = 200;
const INTERVAL_MS = 100;
const CONCURRENT = 10; // as many as its pool has connections; without a limit its timeouts strike

const database = {
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  database: process.env.PGDATABASE,
  user: process.env.PGUSER,
  application_name: process.env.PGAPPNAME,
};
const base = {
  dbSchema: 'public',
  dbTable: 'outbox',
  enableMaxAttemptsProtection: false,
  enablePoisonousMessageProtection: false,
  messageCleanupIntervalInMs: 5000,
  messageCleanupProcessedInSec: 1,
};

async function setup() {
  const config = {
    outboxOrInbox: 'outbox',
    database: database.database,
    schema: 'public',
    table: 'outbox',
    listenerRole: database.user,
    nextMessagesSchema: 'public',
    nextMessagesName: 'next_outbox_messages',
    publication: PUBLICATION,
    replicationSlot: SLOT,
  };
  const steps = outbox.DatabaseSetup;
  const client = new Client(database);
  await client.connect();
  await client.query(steps.dropAndCreateTable(config));
  await client.query(steps.createPollingFunction(config));
  await client.query(steps.setupPollingIndexes(config));
  await client.query(steps.setupReplicationCore(config));
  await client.end();
}

// A slot keeps what is written from now on: made when the listener is about to start.
async function makeSlot() {
  const client = new Client(database);
  await client.connect();
  const { rowCount } = await client.query('SELECT FROM pg_replication_slots WHERE slot_name = $1', [SLOT]);
  if (rowCount === 0) await client.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [SLOT]);
  await client.end();
}

async function handler() {
  const connection = await amqp.connect(process.env.BENCH_AMQP_URL);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue(QUEUE, { durable: true });
  return {
    handle: (message) => new Promise((resolve, reject) => {
      channel.sendToQueue(QUEUE, Buffer.from(JSON.stringify(message.payload)), { persistent: true },
        (error) => (error ? reject(error) : resolve()));
    }),
  };
}

async function listen(how) {
  const config = { outboxOrInbox: 'outbox', dbListenerConfig: database, dbHandlerConfig: database };
  const logger = outbox.getDisabledLogger();
  const publish = await handler();
  if (how === 'poll') {
    outbox.initializePollingMessageListener({
      ...config,
      settings: {
        ...base,
        nextMessagesFunctionName: 'next_outbox_messages',
        nextMessagesBatchSize: BATCH,
        nextMessagesPollingIntervalInMs: INTERVAL_MS,
      },
    }, publish, logger, { batchSizeStrategy: async () => BATCH });
  } else {
    await makeSlot();
    outbox.initializeReplicationMessageListener(
      { ...config, settings: { ...base, dbPublication: PUBLICATION, dbReplicationSlot: SLOT } },
      publish, logger, { concurrencyStrategy: outbox.createReplicationSemaphoreConcurrencyController(CONCURRENT) });
  }
  console.log('ready');
}

(process.argv[2] === 'setup' ? setup() : listen(process.argv[2])).catch((error) => {
  console.error(error);
  process.exit(1);
});
