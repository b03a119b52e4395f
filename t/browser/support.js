// The browser, the servers behind the page, and what is asked of a page again and again.

'use strict';

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const { chromium } = require('playwright-core');

const LIMIT_MS = 30000;

function need(name) {
    const value = process.env[name];
    if (!value) throw new Error(`${name} is not set: run by make test T=browser`);
    return value;
}

const [full, beginner, alone] = need('BROWSER_URLS').split(' ');
const [askFd, answerFd] = need('BROWSER_ERRANDS').split(' ').map(Number);
const answers = fs.createReadStream(null, { fd: answerFd, encoding: 'utf8' });
answers.unref?.();

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
    fs.writeSync(askFd, `${name}\n`);
    const answer = await answered;
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

module.exports = { alone, beginner, endErrands, errand, full, headline, launch, LIMIT_MS, psql, redis, shown };
