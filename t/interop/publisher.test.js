// An amqplib program in the usual way, publishToQueue("cache-invalidation", {keys: [...]}): the
// worker deletes the keys, whoever sent them.

'use strict';

const assert = require('node:assert');
const { after, before, test } = require('node:test');
const { connect, nextMessage, redis, waitFor } = require('./support');

const QUEUE = 'cache-invalidation';

let connection;
let channel;

before(async () => {
    connection = await connect();
    channel = await connection.createConfirmChannel();
    // As such programs do; the worker's queue must be the same to them.
    await channel.assertQueue(QUEUE);
});

after(async () => {
    await connection.close();
});

async function publishToQueue(queue, message, options) {
    channel.sendToQueue(queue, Buffer.from(JSON.stringify(message)), options);
    await channel.waitForConfirms();
}

function gone(...keys) {
    return waitFor(`${keys} to be gone`, () => redis('EXISTS', ...keys) === '0');
}

test('keys of a plain message are deleted', async () => {
    redis('MSET', 'blogs:all', '1', 'blog:1', '1', 'blog:2', '1');
    await publishToQueue(QUEUE, { keys: ['blogs:all', 'blog:1'] });
    await gone('blogs:all', 'blog:1');
    assert.strictEqual(redis('EXISTS', 'blog:2'), '1');
});

test('patterns too', async () => {
    redis('MSET', 'list:1', '1', 'list:2', '1', 'other', '1');
    await publishToQueue(QUEUE, { patterns: ['list:*'] });
    await gone('list:1', 'list:2');
    assert.strictEqual(redis('EXISTS', 'other'), '1');
});

test('persistent or not, with members and headers of its own', async () => {
    redis('SET', 'blog:3', '1');
    await publishToQueue(QUEUE, { keys: ['blog:3'], reason: 'edited', at: 1700000000 },
        { persistent: true, headers: { 'x-app': 'blog', n: 5 }, messageId: 'm' });
    await gone('blog:3');
});

test('characters beyond ASCII', async () => {
    redis('SET', 'gr\u00fc\u00dfe:\u{1f600}', '1');
    await publishToQueue(QUEUE, { keys: ['gr\u00fc\u00dfe:\u{1f600}'] });
    await gone('gr\u00fc\u00dfe:\u{1f600}');
});

test('a thousand messages in one go', async () => {
    const keys = Array.from({ length: 1000 }, (_, i) => `many:${i}`);
    redis('MSET', ...keys.flatMap((key) => [key, '1']));
    for (const key of keys) channel.sendToQueue(QUEUE, Buffer.from(JSON.stringify({ keys: [key] })));
    await channel.waitForConfirms();
    await gone(...keys);
});

test('what is not understood comes to the dead-letter queue with its properties', async () => {
    await publishToQueue(QUEUE, { key: 'blogs:all' },
        { messageId: 'bad', contentType: 'application/json', headers: { n: 5, deep: { a: [1] } } });
    const letter = await nextMessage(channel, `${QUEUE}.dead`);
    assert.deepStrictEqual(JSON.parse(letter.content), { key: 'blogs:all' });
    assert.strictEqual(letter.properties.messageId, 'bad');
    assert.strictEqual(letter.properties.headers.n, 5);
    assert.deepStrictEqual(letter.properties.headers.deep, { a: [1] });
    assert.strictEqual(typeof letter.properties.headers['x-outbox-error'], 'string');
});
