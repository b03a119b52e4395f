// What both Node tests need: the servers that run.pl started, and how to ask them.

'use strict';

const { execFileSync } = require('node:child_process');
const amqp = require('amqplib');

const WAIT_LIMIT_MS = 60000;

function need(name) {
    const value = process.env[name];
    if (!value) throw new Error(`${name} is not set: run by make test T=interop`);
    return value;
}

function psql(sql) {
    return execFileSync('psql', ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', need('INTEROP_PG'), '-c', sql],
        { encoding: 'utf8' }).trim();
}

function redis(...command) {
    return execFileSync('redis-cli', ['-p', need('INTEROP_REDIS_PORT'), ...command],
        { encoding: 'utf8' }).trim();
}

function connect() {
    return amqp.connect(need('INTEROP_AMQP_URL'));
}

// Looks again and again until condition gives a true value; fails at the limit.
async function waitFor(what, condition) {
    const end = Date.now() + WAIT_LIMIT_MS;
    for (;;) {
        const value = await condition();
        if (value) return value;
        if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

// The next message of a queue, acknowledged.
function nextMessage(channel, queue) {
    return waitFor(`a message in ${queue}`, () => channel.get(queue, { noAck: true }));
}

module.exports = { connect, nextMessage, psql, redis, waitFor };
