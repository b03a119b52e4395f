// The status page as people see it: each fault turns its part red and has its sentence, soon; it is
// well again by itself; it can be read on a phone, in the dark, by keyboard and by a screen reader.

'use strict';

const assert = require('node:assert');
const path = require('node:path');
const { after, before, test } = require('node:test');
const { alone, beginner, busy, endErrands, errand, full, headline, launch, LIMIT_MS, psql, redis, shown } = require('./support');

// A fault shows within 3 s; on a machine that does other things as well, within this.
const SOON_MS = 20000;
const WELL = { database: 'good', outbox: 'good', relay: 'good', queue: 'good', worker: 'good', redis: 'good' };

let browser;
let page;                   // stays open throughout
const complaints = [];      // of the browser: errors, refused by policy
const foreign = [];         // requests to others than the worker

before(async () => {
    browser = await launch();
    page = await open(full);
});

after(async () => {
    await browser.close();
    endErrands();
});

async function open(url, options) {
    const opened = await browser.newPage({ viewport: { width: 1200, height: 800 }, ...options });
    opened.on('pageerror', (error) => complaints.push(error.stack));
    opened.on('console', (message) => {
        // What Chromium says of a question that got no answer.
        if (!/Failed to load resource/.test(message.text())) complaints.push(message.text());
    });
    opened.on('request', (request) => {
        if (!request.url().startsWith(url) && !request.url().startsWith('data:')) foreign.push(request.url());
    });
    await opened.goto(url);
    return opened;
}

// For the documents, by SCREENSHOTS=1: with some minutes of traffic before, and a backlog while Redis is away.
let traffics = Promise.resolve();

async function prepareHealthy() {
    if (!process.env.SCREENSHOTS) return;
    await busy(150);
    traffics = busy(25);
    await page.waitForTimeout(6000);
}

async function picture(name) {
    if (!process.env.SCREENSHOTS) return;
    const box = await page.locator('#plot-messages').boundingBox();
    await page.screenshot({ path: path.join(process.env.OUTBOX_WORK, 'browser', `${name}.png`),
        clip: { x: 0, y: 0, width: 1200, height: Math.round(box.y + box.height + 7) } });
}

// New blogs; their keys are in the cache before, as far as there is one.
function traffic(from, n) {
    redis('MSET', 'blogs:all', '1', ...Array.from({ length: n }, (_, i) => [`blog:${from + i}`, '1']).flat());
    write(from, n);
}

function write(from, n) {
    psql(Array.from({ length: n }, (_, i) => `INSERT INTO blogs VALUES (${from + i}, 1, 'x')`).join(';'));
}

// Traffic until it is seen to flow there: one burst may be over before the page is looked at.
let written = 1;

async function flows(link, of = page) {
    const end = Date.now() + LIMIT_MS;
    for (;;) {
        traffic(written, 10);
        written += 10;
        try {
            await of.waitForFunction((id) => document.getElementById(`link-${id}`).hasAttribute('data-flows') &&
                parseFloat(document.querySelector(`#link-${id} .rate`).textContent) > 0, link, { timeout: 1000 });
            return;
        } catch (error) {
            if (Date.now() > end) throw error;
        }
    }
}

async function isWell() {
    await headline(page, /^All is well\.$/);
    await page.waitForFunction(() => document.querySelectorAll('#flow [data-state=good][id^=part-]').length === 6, null,
        { timeout: LIMIT_MS });
    assert.deepStrictEqual((await shown(page)).parts, WELL);
}

// A fault: what it is called, where it is red, how soon.
async function faultShows(t, name, doIt, words, part, why, level = 'bad') {
    const done = doIt();
    const ms = await headline(page, words);
    await done;
    const now = await shown(page);
    t.diagnostic(`${name}: shown after ${ms} ms: ${now.headline} ${now.why}`);
    assert.strictEqual(now.level, level);
    assert.strictEqual(now.parts[part], level);
    assert.match(now.why, why);
    assert.match(now.title, /^\(!\) /);
    assert.ok(ms < SOON_MS, `${ms} ms`);
    return now;
}

test('healthy: all is well, and the rates move', async (t) => {
    await isWell();
    const rate = (id) => page.evaluate((link) => Number(document.querySelector(`#link-${link} .rate`).textContent), id);
    assert.match(await page.locator('#about').textContent(), /^Version \d+\.\d+\.\d+, up for /);
    assert.strictEqual(await rate('worker'), 0);
    assert.strictEqual(await page.locator('#flow [data-flows]').count(), 0);
    for (const link of ['outbox', 'relay', 'queue', 'worker', 'redis']) await flows(link);
    await page.waitForFunction(() => /ms$/.test(document.querySelector('#plot-delay b').textContent));
    assert.match(await page.locator('#flow-text').textContent(), /^Database: blog answers\. Outbox: \d+ pending\. Relay: /);
    t.diagnostic(`delay: ${await page.locator('#plot-delay .now').textContent()}`);
    await page.waitForFunction(() => document.querySelectorAll('#flow [data-flows]').length === 0, null, { timeout: LIMIT_MS });
});

test('what a screen reader is told changes with the state only', async () => {
    await page.evaluate(() => {
        window.told = 0;
        new MutationObserver((changes) => { window.told += changes.length; })
            .observe(document.getElementById('sentence'), { childList: true, characterData: true, subtree: true });
    });
    const before = await page.locator('#clock-text').textContent();
    await page.waitForFunction((text) => document.getElementById('clock-text').textContent !== text, before);
    await flows('worker');
    assert.strictEqual(await page.evaluate(() => window.told), 0);
    assert.strictEqual(await page.locator('#sentence').getAttribute('role'), 'status');
    assert.ok(await page.getByRole('img', { name: /^The way of an event/ }).isVisible());
    for (const plot of await page.locator('.plot svg').all())
        assert.match(await plot.getAttribute('aria-label'), /last ten minutes: now .*; at most /);
});

test('Redis is killed', async (t) => {
    await prepareHealthy();
    await picture('status-healthy');
    await faultShows(t, 'Redis', () => errand('redis kill'), /^Redis is away\.$/, 'redis', /closed|refused|reset/i);
    assert.strictEqual(await page.evaluate(() => document.getElementById('link-redis').dataset.state), 'bad');
    write(100000, 20);
    await page.waitForFunction(() => Number(document.querySelector('#part-queue .value').textContent) > 0, null, { timeout: LIMIT_MS });
    if (process.env.SCREENSHOTS) await page.waitForTimeout(10000);
    await picture('status-redis-stopped');
    await errand('redis start');
    await traffics;
    await isWell();
});

test('a message that is not understood', async (t) => {
    await faultShows(t, 'bad message', () => errand('bad message'), /^Some messages were not understood\.$/, 'worker',
        /cache-invalidation\.dead/, 'warn');
    assert.match(await page.locator('#hint').textContent(), /outbox-worker --replay-dead/);
    await errand('worker again');
    await isWell();
});

test('an event that the broker will never take', async (t) => {
    await faultShows(t, 'dead letter', async () => psql("SELECT outbox.publish('second', to_jsonb(repeat('x', 200000)))"),
        /^Some events are dead letters\.$/, 'outbox', /never take/, 'warn');
    psql("SELECT outbox.discard_dead_letter(event_id) FROM outbox.dead_letter WHERE state = 'dead'");
    await isWell();
});

test('a destination that does not accept', async (t) => {
    await faultShows(t, 'parked', async () => psql("SELECT outbox.publish('nowhere', '1')"),
        /^Some messages are not accepted\.$/, 'relay', /parked/, 'warn');
    psql("SELECT outbox.discard_dead_letter(event_id) FROM outbox.dead_letter");
    await isWell();
});

test('the relay is paused', async (t) => {
    await faultShows(t, 'pause', async () => psql("SELECT outbox.pause('moving house')"), /^The relay is paused\.$/, 'relay',
        /Moving house\.$/);
    assert.strictEqual(await page.locator('#hint-code').textContent(), 'SELECT outbox.resume();');
    psql('SELECT outbox.resume()');
    await isWell();
});

test('the worker no longer answers', async (t) => {
    await faultShows(t, 'frozen worker', () => errand('worker freeze'), /^The worker does not answer\.$/, 'worker', /said last/);
    assert.match(await page.locator('#clock-text').textContent(), /^last heard of at /);
    assert.deepStrictEqual((await shown(page)).parts, { ...Object.fromEntries(Object.keys(WELL).map((part) => [part, 'unknown'])), worker: 'bad' });
    await errand('worker thaw');
    await isWell();
});

test('the broker is killed', async (t) => {
    await faultShows(t, 'broker', () => errand('broker kill'), /^RabbitMQ is away\.$/, 'queue', /closed|refused|reset/i);
    await page.waitForFunction(() => document.getElementById('link-queue').dataset.state === 'bad', null, { timeout: LIMIT_MS });
    assert.deepStrictEqual((await shown(page)).also, [], 'relay and worker miss the same broker: one sentence');
    await errand('broker start');
    await isWell();
});

test('the database is away', async (t) => {
    await faultShows(t, 'database', () => errand('node stop'), /^The database does not answer\.$/, 'database', /\S/);
    assert.match(await page.locator('#parts').textContent(), /silent, last heard of \d+ s ago/);
    assert.strictEqual((await shown(page)).parts.redis, 'good');
    await errand('node start');
    await isWell();
});

test('without the right to ask, and without a database, it says what it does not know', async () => {
    const refused = await open(beginner);
    await headline(refused, /^All is well\.$/);
    await refused.waitForFunction(() => /permission denied for function pipeline/.test(document.getElementById('note-text').textContent),
        null, { timeout: LIMIT_MS });
    assert.match(await refused.locator('#note-code').textContent(), /^GRANT USAGE ON SCHEMA outbox .* GRANT EXECUTE ON FUNCTION outbox\.pipeline/);
    const unknown = { ...WELL, database: 'unknown', outbox: 'unknown', relay: 'unknown' };
    assert.deepStrictEqual((await shown(refused)).parts, unknown);
    // The worker's name is text, not markup.
    assert.strictEqual(await refused.locator('#name').textContent(), '<b id=injected>two</b>');
    assert.strictEqual(await refused.locator('#injected').count(), 0);

    const off = await open(alone);
    await headline(off, /^All is well\.$/);
    assert.match(await off.locator('#note-code').textContent(), /--report-to=/);
    assert.deepStrictEqual((await shown(off)).parts, unknown);
    assert.match((await shown(off)).why, /^The worker, RabbitMQ and Redis answer/);
    await refused.close();
    await off.close();
});

// ---- how it can be read ----

// Text and what it stands on, in the picture: axe does not look into it.
function picturesContrast(of) {
    return of.evaluate(() => {
        const luminance = (colour) => {
            const [r, g, b] = colour.match(/[\d.]+/g).map(Number).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ground = getComputedStyle(document.body).backgroundColor;
        return Math.min(...[...document.querySelectorAll('#flow text')].filter((text) => text.textContent && getComputedStyle(text.parentNode).display !== 'none').map((text) => {
            const behind = text.parentNode.querySelector(':scope > circle') || text.parentNode.querySelector('.box');
            const fill = behind && getComputedStyle(behind).fill !== 'none' ? getComputedStyle(behind).fill : ground;
            const [a, b] = [luminance(getComputedStyle(text).fill), luminance(fill)].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05);
        }));
    });
}

async function axe(of) {
    const source = require('node:fs').readFileSync(require.resolve('axe-core'), 'utf8');
    const result = await of.evaluate(async (script) => {
        (0, eval)(script); // eslint-disable-line no-eval
        const { violations } = await window.axe.run();
        return violations.map((v) => `${v.id}: ${v.nodes.map((node) => node.target).join(', ')}`);
    }, source);
    assert.deepStrictEqual(result, []);
}

for (const scheme of ['light', 'dark'])
    test(`accessible on a phone, ${scheme}, well and not`, async (t) => {
        const context = await browser.newContext({ viewport: { width: 360, height: 740 }, colorScheme: scheme, bypassCSP: true, reducedMotion: 'reduce' });
        const phone = await context.newPage();
        await phone.goto(full);
        await headline(phone, /^All is well\.$/);
        const look = async () => {
            const widths = await phone.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
            assert.ok(widths[0] <= widths[1], `no horizontal scroll: ${widths}`);
            await axe(phone);
            const contrast = await picturesContrast(phone);
            assert.ok(contrast >= 4.5, `contrast ${contrast}`);
            t.diagnostic(`least contrast in the picture: ${contrast.toFixed(2)}`);
        };
        await phone.locator('summary').click();
        await look();
        psql("SELECT outbox.pause('a reason that is long and has_no_place_to_break_in_it_for_quite_a_while_and_goes_on_and_on')");
        await headline(phone, /paused/);
        await flows('outbox', phone);
        assert.strictEqual(await phone.evaluate(() => getComputedStyle(document.querySelector('#link-outbox .moving')).animationName), 'none',
            'nothing moves for those who do not want it');
        await look();
        psql('SELECT outbox.resume()');
        await headline(phone, /^All is well\.$/);
        await context.close();
    });

test('by keyboard: the table, then the links, and the focus shows', async () => {
    await page.bringToFront();
    await page.locator('h1').click();
    await page.keyboard.press('Tab');
    const focused = () => page.evaluate(() => ({ text: document.activeElement.textContent.trim().slice(0, 30), tag: document.activeElement.tagName,
        outline: parseFloat(getComputedStyle(document.activeElement).outlineWidth), style: getComputedStyle(document.activeElement).outlineStyle }));
    const first = await focused();
    assert.strictEqual(first.tag, 'SUMMARY');
    assert.ok(first.outline >= 2 && first.style === 'solid', JSON.stringify(first));
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.querySelectorAll('#minutes tr').length > 0);
    assert.ok(await page.getByRole('columnheader', { name: 'Delay, median' }).isVisible());
    const seen = [];
    for (let i = 0; i < 5; i++) {
        await page.keyboard.press('Tab');
        seen.push((await focused()).text.replace(/\s.*/s, ''));
    }
    assert.deepStrictEqual(seen.slice(1), ['/metrics', '/readyz', '/healthz', '/status.json']);
});

test('the browser had nothing to complain of, and asked nobody else', () => {
    assert.deepStrictEqual(complaints, []);
    assert.deepStrictEqual(foreign, []);
});
