// The caches of examples/local-cache follow what the worker deletes, or what comes over the exchange; and keep
// nothing while they cannot.

'use strict';

const assert = require('node:assert');
const { after, before, test } = require('node:test');
const { connect, redis, waitFor } = require('./support');
const { createLocal, globToRegExp } = require('../../examples/local-cache/local');
const { createTrackedCache } = require('../../examples/local-cache/tracking');
const { createExchangeCache } = require('../../examples/local-cache/exchange');

const QUEUE = 'cache-invalidation';
const EXCHANGE = 'local-caches';
let connection;
let channel;

before(async () => {
    connection = await connect();
    channel = await connection.createConfirmChannel();
    await channel.assertQueue(QUEUE);
    await channel.assertExchange(EXCHANGE, 'fanout', { durable: true });
});

after(async () => {
    await connection.close();
});

async function publish(exchange, routingKey, body) {
    channel.publish(exchange, routingKey, Buffer.from(JSON.stringify(body)));
    await channel.waitForConfirms();
}

test('a value whose key was deleted while it was fetched is not kept', () => {
    const local = createLocal({ max: 2 });
    assert.strictEqual(local.following, false);
    local.end(local.begin('early'), 'v');
    assert.strictEqual(local.size, 0);
    local.resume();
    const [old, fine, swept, matched] = ['a', 'b', 'c', 'd:1'].map((key) => local.begin(key));
    local.forget('a');
    local.end(old, 'old');
    local.end(fine, 'new');
    local.forgetMatching('d:*');
    local.end(matched, 'old');
    assert.strictEqual(local.get('a'), undefined);
    assert.strictEqual(local.get('b'), 'new');
    assert.strictEqual(local.get('d:1'), undefined);
    local.pause();
    local.resume();
    local.end(swept, 'old');
    assert.strictEqual(local.size, 0);
    for (const key of ['1', '2', '1', '3']) {
        if (local.get(key) === undefined) local.end(local.begin(key), key);
    }
    assert.deepStrictEqual(['1', '2', '3'].map((key) => local.get(key)), ['1', undefined, '3']);
});

test('globs are those of Redis', () => {
    const keys = ['blog:1', 'blog:12', 'blog:x', 'blog:*', 'a+b', 'gr\u00fcn', 'line\nend', '[x]'];
    for (const glob of ['blog:*', 'blog:[0-9]', 'blog:[^0-9]', 'blog:\\*', 'a+b', 'line*', 'blog:[1x]', '\\[x]', '*', 'blog']) {
        redis('FLUSHALL');
        redis('MSET', ...keys.flatMap((key) => [key, '1']));
        const found = redis('EVAL', "return redis.call('KEYS', ARGV[1])", '0', glob);
        const ours = keys.filter((key) => globToRegExp(glob).test(key));
        // A key with a line end is two lines in redis-cli's output: so are ours.
        assert.deepStrictEqual(ours.join('\n').split('\n').sort(), found.split('\n').sort(), glob);
    }
    assert.ok(globToRegExp('gr??n').test('gr\u00fcn'));
    redis('FLUSHALL');
});

test('CLIENT TRACKING: two processes follow what the worker deletes', async () => {
    const caches = [1, 2].map(() => createTrackedCache(`redis://127.0.0.1:${process.env.INTEROP_REDIS_PORT}`));
    for (const cache of caches) await waitFor('it to follow', () => cache.local.following);
    redis('MSET', 'blog:1', 'old', 'blog:2', 'stays');
    for (const cache of caches) {
        assert.deepStrictEqual(await cache.read('blog:1'), { from: 'redis', value: 'old' });
        assert.deepStrictEqual(await cache.read('blog:1'), { from: 'local', value: 'old' });
        await cache.read('blog:2');
    }
    await publish('', QUEUE, { keys: ['blog:1'] });
    for (const cache of caches) {
        await waitFor('the local copy to be gone', () => cache.local.get('blog:1') === undefined);
        assert.deepStrictEqual(await cache.read('blog:1'), { from: 'redis', value: null });
        assert.deepStrictEqual(await cache.read('blog:2'), { from: 'local', value: 'stays' });
    }
    redis('SET', 'blog:1', 'new');
    assert.deepStrictEqual(await caches[0].read('blog:1'), { from: 'redis', value: 'new' });
    // Patterns are deleted key by key; somebody else's write counts as well.
    await publish('', QUEUE, { patterns: ['blog:*'] });
    await waitFor('both to be gone', () => caches[0].local.size === 0 && caches[1].local.size === 0);
    for (const cache of caches) cache.close();
});

for (const type of ['pubsub', 'normal']) {
    test(`CLIENT TRACKING: a lost ${type} connection empties it`, async () => {
        const cache = createTrackedCache(`redis://127.0.0.1:${process.env.INTEROP_REDIS_PORT}`);
        await waitFor('it to follow', () => cache.local.following);
        redis('SET', 'key', 'old');
        await cache.read('key');
        assert.strictEqual((await cache.read('key')).from, 'local');
        redis('CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes');
        await waitFor('the copies to be dropped', () => !cache.local.following);
        assert.strictEqual(cache.local.size, 0);
        redis('SET', 'key', 'new');
        await waitFor('it to follow again', () => cache.local.following);
        assert.deepStrictEqual(await cache.read('key'), { from: 'redis', value: 'new' });
        assert.strictEqual((await cache.read('key')).from, 'local');
        await publish('', QUEUE, { keys: ['key'] });
        await waitFor('the local copy to be gone', () => cache.local.get('key') === undefined);
        cache.close();
    });
}

test('a queue of its own: every process gets every invalidation', async () => {
    const url = process.env.INTEROP_AMQP_URL;
    const caches = [1, 2].map(() => createExchangeCache({ url, exchange: EXCHANGE }));
    for (const cache of caches) await waitFor('it to follow', () => cache.local.following);
    let row = 'old';
    for (const cache of caches) {
        assert.deepStrictEqual(await cache.read('blog:1', async () => row), { from: 'load', value: 'old' });
        assert.deepStrictEqual(await cache.read('blog:1', async () => row), { from: 'local', value: 'old' });
        await cache.read('list:1', async () => row);
    }
    row = 'new';
    await publish(EXCHANGE, '', { keys: ['blog:1'] });
    for (const cache of caches) {
        await waitFor('the copy to be gone', () => cache.local.get('blog:1') === undefined);
        assert.deepStrictEqual(await cache.read('blog:1', async () => row), { from: 'load', value: 'new' });
        assert.strictEqual((await cache.read('list:1', async () => row)).value, 'old');
    }
    await publish(EXCHANGE, '', { keys: [], patterns: ['list:*'] });
    for (const cache of caches) await waitFor('the list to be gone', () => cache.local.get('list:1') === undefined);

    // Read before the change, stored after it: not kept.
    let finish;
    const slow = caches[0].read('blog:2', () => new Promise((resolve) => { finish = resolve; }));
    await caches[1].read('blog:2', async () => 'marker');
    await publish(EXCHANGE, '', { keys: ['blog:2'] });
    await waitFor('the other one to hear of it', () => caches[1].local.get('blog:2') === undefined);
    await publish(EXCHANGE, '', { keys: ['blog:1'] });
    await waitFor('this one, too', () => caches[0].local.get('blog:1') === undefined);
    finish('old');
    assert.strictEqual((await slow).value, 'old');
    assert.strictEqual(caches[0].local.get('blog:2'), undefined);
    for (const cache of caches) await cache.close();
});

test('a queue of its own: an exchange that is not there is waited for', async () => {
    await channel.deleteExchange(EXCHANGE);
    const cache = createExchangeCache({ url: process.env.INTEROP_AMQP_URL, exchange: EXCHANGE });
    assert.strictEqual((await cache.read('key', async () => 'v')).from, 'load');
    assert.strictEqual((await cache.read('key', async () => 'v')).from, 'load');
    await channel.assertExchange(EXCHANGE, 'fanout', { durable: true });
    await waitFor('it to follow', () => cache.local.following);
    await cache.read('key', async () => 'v');
    assert.strictEqual((await cache.read('key', async () => 'v')).from, 'local');
    await cache.close();
});
