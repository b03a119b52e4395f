// The worker of the usual tutorial: one del for each message, awaited, then its ack.
'use strict';
const amqp = require('amqplib');
const Redis = require('ioredis');

async function main() {
  const redis = new Redis(process.env.OUTBOX_REDIS_URL);
  const connection = await amqp.connect(process.env.OUTBOX_AMQP_URL);
  const channel = await connection.createChannel();
  await channel.prefetch(256);
  await channel.consume(process.env.OUTBOX_QUEUE, async (message) => {
    await redis.del(...JSON.parse(message.content).keys);
    channel.ack(message);
  });
  console.log('ready');
}

main();
