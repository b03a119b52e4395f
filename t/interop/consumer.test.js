// An amqplib consumer sees exactly the messages that the contract describes.

'use strict';

const assert = require('node:assert');
const { after, before, test } = require('node:test');
const { connect, nextMessage, psql, waitFor } = require('./support');

const QUEUE = 'cache-invalidation';
const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;

let connection;
let channel;

before(async () => {
    connection = await connect();
    channel = await connection.createChannel();
    await waitFor('the queue', () => psql('SELECT state FROM outbox.relay') === 'idle');
});

after(async () => {
    await connection.close();
});

// Published by the test before, if any: each test begins with empty queues.
async function empty(queue) {
    psql("SELECT outbox.wait_published('30 s')");
    await channel.purgeQueue(queue);
}

test('the queue is what amqplib declares by default', async () => {
    const declared = await channel.assertQueue(QUEUE);
    assert.strictEqual(declared.queue, QUEUE);
    await channel.assertQueue(`${QUEUE}.dead`);
});

test('an invalidation', async () => {
    await empty(QUEUE);
    const startedUs = Date.now() * 1000;
    psql("INSERT INTO blogs VALUES (42, 7, 'x')");
    const message = await nextMessage(channel, QUEUE);
    const endedUs = Date.now() * 1000 + 1000;

    const body = JSON.parse(message.content.toString('utf8'));
    assert.deepStrictEqual(Object.keys(body), ['keys']);
    assert.deepStrictEqual(body.keys.sort(), ['author:7:blogs', 'blog:42', 'blogs:all']);

    const { properties, fields } = message;
    assert.strictEqual(fields.exchange, '');
    assert.strictEqual(fields.routingKey, QUEUE);
    assert.strictEqual(fields.redelivered, false);
    assert.strictEqual(properties.contentType, 'application/json');
    assert.strictEqual(properties.contentEncoding, undefined);
    assert.strictEqual(properties.deliveryMode, 2);
    assert.strictEqual(properties.appId, 'pg_outbox');
    assert.strictEqual(properties.type, 'cache.invalidate');
    assert.strictEqual(properties.replyTo, undefined);
    assert.strictEqual(properties.correlationId, undefined);
    assert.strictEqual(properties.expiration, undefined);
    assert.strictEqual(properties.userId, undefined);

    const { headers } = properties;
    assert.deepStrictEqual(Object.keys(headers).sort(), [
        'x-outbox-created-at', 'x-outbox-database', 'x-outbox-first-id', 'x-outbox-instance',
        'x-outbox-last-id', 'x-outbox-lsn', 'x-outbox-part']);
    assert.match(headers['x-outbox-instance'], UUID);
    assert.strictEqual(headers['x-outbox-database'], 'blog');
    assert.strictEqual(typeof headers['x-outbox-first-id'], 'number');
    assert.strictEqual(headers['x-outbox-last-id'], headers['x-outbox-first-id']);
    assert.strictEqual(headers['x-outbox-part'], 1);
    assert.match(headers['x-outbox-lsn'], /^[0-9A-F]+\/[0-9A-F]+$/);
    assert.strictEqual(
        psql(`SELECT '${headers['x-outbox-lsn']}'::pg_lsn <= pg_current_wal_insert_lsn()`), 't');

    const createdUs = headers['x-outbox-created-at'];
    assert.ok(createdUs >= startedUs && createdUs <= endedUs, `created at ${createdUs}`);
    assert.strictEqual(properties.timestamp, Math.floor(createdUs / 1e6));
    assert.strictEqual(properties.messageId,
        `${headers['x-outbox-instance']}/${headers['x-outbox-last-id']}/1`);
});

test('patterns stand beside keys', async () => {
    await empty(QUEUE);
    psql("BEGIN; SELECT outbox.invalidate('a'); SELECT outbox.invalidate_pattern('b:*'); COMMIT");
    const message = await nextMessage(channel, QUEUE);
    assert.deepStrictEqual(JSON.parse(message.content), { keys: ['a'], patterns: ['b:*'] });
});

test('keys of any characters are JSON in UTF-8', async () => {
    await empty(QUEUE);
    psql(`SELECT outbox.invalidate(E'\\u00fc\\U0001f600', 'a"b\\c', E'tab\\there\\nand\\u0001')`);
    const message = await nextMessage(channel, QUEUE);
    assert.deepStrictEqual(JSON.parse(message.content.toString('utf8')).keys.sort(),
        ['\u00fc\u{1f600}', 'a"b\\c', 'tab\there\nand\u0001'].sort());
});

test('a transaction\'s keys come once each', async () => {
    await empty(QUEUE);
    psql(`BEGIN; UPDATE blogs SET title = title || '1' WHERE id = 42;
        UPDATE blogs SET title = title || '2' WHERE id = 42; COMMIT`);
    const message = await nextMessage(channel, QUEUE);
    assert.deepStrictEqual(JSON.parse(message.content).keys.sort(),
        ['author:7:blogs', 'blog:42', 'blogs:all']);
    psql("SELECT outbox.wait_published('30 s')");
    assert.strictEqual(await channel.get(QUEUE), false);
});

test('a large transaction comes in parts of at most 500 keys', async () => {
    await empty(QUEUE);
    psql("SELECT outbox.invalidate(VARIADIC array_agg('k:' || n)) FROM generate_series(1, 1234) n");
    psql("SELECT outbox.wait_published('30 s')");
    const keys = [];
    const parts = [];
    for (;;) {
        const message = await channel.get(QUEUE, { noAck: true });
        if (!message) break;
        const some = JSON.parse(message.content).keys;
        assert.ok(some.length <= 500, `${some.length} keys`);
        keys.push(...some);
        parts.push(message.properties.headers['x-outbox-part']);
    }
    assert.strictEqual(new Set(keys).size, 1234);
    assert.deepStrictEqual(parts, [1, 2, 3]);
});

test('a message of outbox.publish', async () => {
    await channel.assertQueue('emails');
    await empty('emails');
    psql(`SELECT outbox.publish('emails', '{"to": "ann", "n": 1.5}',
        '{"s": "text", "i": 7, "big": 9007199254740993, "d": 0.5, "b": true, "t": {"x": 1}, "a": [1, "two"]}',
        '{"message_id": "mine", "correlation_id": "c", "reply_to": "r", "priority": 3, "expiration": 60000}')`);
    const message = await nextMessage(channel, 'emails');
    assert.deepStrictEqual(JSON.parse(message.content), { to: 'ann', n: 1.5 });

    const { properties } = message;
    assert.strictEqual(properties.contentType, 'application/json');
    assert.strictEqual(properties.deliveryMode, 2);
    assert.strictEqual(properties.type, 'outbox.message');
    assert.strictEqual(properties.appId, 'pg_outbox');
    assert.strictEqual(properties.messageId, 'mine');
    assert.strictEqual(properties.correlationId, 'c');
    assert.strictEqual(properties.replyTo, 'r');
    assert.strictEqual(properties.priority, 3);
    assert.strictEqual(properties.expiration, '60000');

    const { headers } = properties;
    assert.strictEqual(headers.s, 'text');
    assert.strictEqual(headers.i, 7);
    assert.strictEqual(headers.d, 0.5);
    assert.strictEqual(headers.b, true);
    assert.deepStrictEqual(headers.t, { x: 1 });
    assert.deepStrictEqual(headers.a, [1, 'two']);
    assert.match(headers['x-outbox-instance'], UUID);
    assert.strictEqual(headers['x-outbox-database'], 'blog');
    assert.strictEqual(headers['x-outbox-first-id'], headers['x-outbox-last-id']);
});

test('without a message_id of its own it has the event\'s', async () => {
    await empty('emails');
    psql("SELECT outbox.publish('emails', '[1]')");
    const { properties } = await nextMessage(channel, 'emails');
    const { headers } = properties;
    assert.strictEqual(properties.messageId,
        `${headers['x-outbox-instance']}/${headers['x-outbox-last-id']}`);
});

test('messages of one destination come in the order of their commits', async () => {
    await empty('emails');
    for (let n = 1; n <= 30; n++) psql(`SELECT outbox.publish('emails', '${n}')`);
    psql("SELECT outbox.wait_published('30 s')");
    const seen = [];
    for (let n = 1; n <= 30; n++) {
        seen.push(JSON.parse((await nextMessage(channel, 'emails')).content));
    }
    assert.deepStrictEqual(seen, Array.from({ length: 30 }, (_, i) => i + 1));
});
