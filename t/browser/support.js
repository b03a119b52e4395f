// The browser, the servers behind the page, and what is asked of a page again and again.

'use strict';

const { execFileSync, spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { chromium } = require('playwright-core');

const LIMIT_MS = 60000;

function need(name) {
    const value = process.env[name];
    if (!value) throw new Error(`${name} is not set: run by make test T=browser`);
    return value;
}

const [full, beginner, alone] = need('BROWSER_URLS').split(' ');
const [askFd, answerFd] = need('BROWSER_ERRANDS').split(' ').map(Number);
// Not a stream of fs: one that waits to read keeps the process from its end.
const answers = new net.Socket({ fd: answerFd, readable: true, writable: false }).setEncoding('utf8');
answers.unref();

// run.pl does it: "redis kill", "broker start", ...
async function errand(name) {
    const answered = new Promise((resolve) => {
        let text = '';
        const take = (part) => {
            text += part;
            if (!text.endsWith('\n')) return;
            answers.off('data', take);
            resolve(text.trim());
        };
        answers.on('data', take);
    });
    answers.ref();
    fs.writeSync(askFd, `${name}\n`);
    const answer = await answered;
    answers.unref();
    if (answer !== 'ok') throw new Error(`${name}: ${answer}`);
}

function endErrands() {
    fs.closeSync(askFd);
    answers.destroy();
}

function psql(sql) {
    return execFileSync('psql', ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', need('BROWSER_PG'), '-c', sql],
        { encoding: 'utf8' }).trim();
}

function redis(...command) {
    return execFileSync('redis-cli', ['-p', need('BROWSER_REDIS_PORT'), ...command], { encoding: 'utf8' }).trim();
}

// Traffic like a blog's, for pictures: two hundred rows that are read and written again and again. Ends
// by itself, after so many seconds; the promise then holds.
function busy(seconds) {
    const ids = Array.from({ length: 200 }, (_, i) => i + 1000);
    const script = path.join(need('OUTBOX_WORK'), 'browser', 'busy.sql');
    fs.writeFileSync(script, '\\set id random(1000, 1199)\nUPDATE blogs SET title = md5(random()::text) WHERE id = :id;\n');
    psql(`INSERT INTO blogs SELECT n, n % 20, 'x' FROM generate_series(1000, 1199) n ON CONFLICT DO NOTHING`);
    const refill = setInterval(() => {
        try { redis('MSET', 'blogs:all', '1', ...ids.flatMap((id) => [`blog:${id}`, '1', `author:${id % 20}:blogs`, '1'])); } catch { /* it is away */ }
    }, 500);
    const pgbench = spawn('pgbench', ['-n', '-c', '2', '-R', '60', '-T', String(seconds), '-f', script, need('BROWSER_PG')], { stdio: 'ignore' });
    return new Promise((resolve) => pgbench.on('exit', () => { clearInterval(refill); resolve(); }));
}

// Nothing of it leaves this machine. As root, or where user namespaces are off, there is no sandbox.
function launch() {
    return chromium.launch({
        executablePath: '/usr/bin/chromium',
        args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
            '--disable-component-update', '--disable-sync'],
    });
}

// What a page shows, as text.
function shown(page) {
    return page.evaluate(() => ({
        headline: document.getElementById('headline').textContent,
        why: document.getElementById('why').textContent,
        level: document.getElementById('verdict').dataset.level,
        also: [...document.querySelectorAll('#also li')].map((item) => item.textContent),
        parts: Object.fromEntries([...document.querySelectorAll('[id^=part-]')].map((part) =>
            [part.id.slice(5), part.dataset.state])),
        title: document.title,
    }));
}

// Waits until the headline matches; how long that took, in milliseconds.
async function headline(page, pattern) {
    const began = Date.now();
    try {
        await page.waitForFunction((source) => new RegExp(source).test(document.getElementById('headline').textContent),
            pattern.source, { timeout: LIMIT_MS, polling: 50 });
    } catch {
        throw new Error(`waited in vain for ${pattern}: ${JSON.stringify(await shown(page))}`);
    }
    return Date.now() - began;
}

module.exports = { alone, beginner, busy, endErrands, errand, full, headline, launch, LIMIT_MS, psql, redis, shown };
