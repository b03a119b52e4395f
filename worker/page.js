
// The status page: asks status.json each second and draws it. All text that comes from elsewhere goes
// through textContent.
'use strict';

const PERIOD_MS = 1000;
const HIDDEN_PERIOD_MS = 5000;
const LIMIT_MS = 1700;      // no answer within: the worker does not answer
const KEPT = 600;           // samples, one a second
const NARROW = matchMedia('(max-width: 719px)');
const SVG = 'http://www.w3.org/2000/svg';

const $ = (id) => document.getElementById(id);

function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    element.append(...children);
    return element;
}

function draw(name, attributes, ...children) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    element.append(...children);
    return element;
}

// Only what differs is touched: a screen reader hears of a change, not of each second.
function say(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

function set(element, name, value) {
    if (value === null) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

// ---- words for numbers ----

function count(n) {
    if (n === null || n === undefined) return '–';
    if (n < 10000) return Math.round(n).toLocaleString('en');
    return n < 1e6 ? `${(n / 1e3).toPrecision(3)}k` : `${(n / 1e6).toPrecision(3)}M`;
}

function some(n, one, many) {
    return `${count(n)} ${n === 1 ? one : many || `${one}s`}`;
}

function perSecond(n) {
    return n > 0 && n < 10 ? n.toFixed(1) : count(n);
}

function digits(n) {
    return Number.isInteger(n) ? String(n) : n < 0.995 ? n.toFixed(2) : n < 9.95 ? n.toFixed(1) : String(Math.round(n));
}

function milliseconds(ms) {
    if (ms === null || ms === undefined) return '–';
    return ms < 1000 ? `${digits(ms)} ms` : seconds(ms / 1000);
}

function seconds(s) {
    if (s < 10) return `${digits(s)} s`;
    if (s < 120) return `${Math.round(s)} s`;
    if (s < 7200) return `${Math.round(s / 60)} min`;
    return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
}

function bytes(n) {
    const unit = n < 1e6 ? [1e3, 'kB'] : n < 1e9 ? [1e6, 'MB'] : [1e9, 'GB'];
    return `${digits(Math.round(n / unit[0] * 10) / 10)} ${unit[1]}`;
}

function ago(s) {
    return `${seconds(Math.round(s))} ago`;
}

function cut(text, length) {
    return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

// ---- what was heard ----

let last = null;            // newest answer
let heardAt = 0;            // when, of performance.now()
let silent = false;         // the newest question has no answer
let samples = [];
let next = 0;
let outbox = [];            // of the database, as long as this page is open: {at, events, messages, pending}
let relaySince = { state: '', at: 0 };

// Of an extension of another version: that is not known, either.
function mindForm(database) {
    const told = database.pipeline;
    if (!told || (told.relay && told.lag && told.parked)) return;
    Object.assign(database, { pipeline: null, state: 'refused', reason: 'its answer has another form; are extension and worker of one version?' });
}

function takeHistory(history) {
    const fresh = history.samples.map((row) =>
        Object.fromEntries(history.names.map((name, i) => [name, row[i]])));
    samples = history.first === next ? samples.concat(fresh).slice(-KEPT) : fresh;
    next = history.next;
}

function takeDatabase(database) {
    const told = database.pipeline;
    if (!told) { outbox = []; return; }
    const seen = { at: told.at, events: told.relay.events, messages: told.relay.messages,
        pending: told.lag.pending_events };
    const before = outbox[outbox.length - 1];
    if (before && (seen.events < before.events || seen.at < before.at)) outbox = [];
    if (!before || before.at !== seen.at) outbox.push(seen);
    if (outbox.length > KEPT) outbox.shift();
    if (relaySince.state !== told.relay.state) relaySince = { state: told.relay.state, at: performance.now() };
}

// Over some seconds: one alone jumps.
function rateOf(name) {
    const newest = samples.slice(-5);
    return newest.length ? newest.reduce((sum, sample) => sum + sample[name], 0) / newest.length : 0;
}

function outboxRate(name) {
    const [from, to] = [outbox.slice(-6)[0], outbox[outbox.length - 1]];
    return outbox.length > 1 ? (to[name] - from[name]) / Math.max(0.5, to.at - from.at) : 0;
}

// ---- the verdict ----

const REFUSES = /^(NOAUTH|WRONGPASS|NOPERM|READONLY|MOVED|DENIED|ERR|MISCONF|MASTERDOWN|CLUSTERDOWN)\b/;

function sentence(text) {
    const line = (text || '').trim();
    if (line === '') return '';
    // Not a name such as outbox.event_1.
    const first = /^[a-z]+[ ,]/.test(line) ? line[0].toUpperCase() : line[0];
    return `${first}${line.slice(1)}${/[.!?]$/.test(line) ? '' : '.'}`;
}

const RELAY_WORDS = {
    'not running': ['The relay does not run.', 'Events are recorded, and nobody sends them.',
        'Is pg_outbox in shared_preload_libraries? See the server\'s log and', 'SELECT * FROM outbox.health;'],
    'paused': ['The relay is paused.', 'Somebody asked for that: events are recorded, and wait.', 'It goes on with',
        'SELECT outbox.resume();'],
    'copied': ['This database is a copy, and publishes nothing.', 'Its outbox belongs to another database.',
        'If it shall live on its own:', 'SELECT outbox.adopt();'],
    'blocked': ['RabbitMQ has blocked the relay.', 'The broker is short of memory or disk and takes no messages. Events wait in the outbox.',
        'See', 'rabbitmq-diagnostics alarms'],
};

function judgeRelay(told, brokerDown, problems) {
    const { relay } = told;
    const add = (level, title, why, hint, code) => problems.push({ part: 'relay', level, title, why, hint, code });
    const words = RELAY_WORDS[relay.state];
    // Why it is paused stands there.
    const reason = relay.state === 'paused' && /^outbox\.pause\(\): (.+)/.exec(relay.last_error || '');
    if (words) add('bad', words[0], reason ? `${words[1]} ${sentence(reason[1])}` : words[1], words[2], words[3]);
    else if (brokerDown) return;
    else if (relay.state === 'waiting to reconnect')
        add('bad', 'The relay cannot reach RabbitMQ.', sentence(relay.last_error), 'Events wait in the outbox, and flow on by themselves.', '');
    else if (/^(starting|connecting)$/.test(relay.state) && performance.now() - relaySince.at > 4000)
        add('warn', 'The relay is connecting.', sentence(relay.last_error), '', '');
    if (told.parked.destinations > 0)
        add('warn', 'Some messages are not accepted.', 'Their destinations are parked and tried again; all others flow.', 'Which, and why:',
            "SELECT * FROM outbox.destination WHERE state = 'parked';");
}

// What a check of outbox.health is about, and what is wrong where it is not ok.
const CHECKS = {
    relay: ['relay', 'The relay does not work.'], broker: ['relay', 'The relay has no connection to RabbitMQ.'],
    destinations: ['relay', 'Some messages are not accepted.'], version: ['relay', 'Library and extension are of different versions.'],
    lag: ['outbox', 'The outbox is behind.'], outbox_size: ['outbox', 'The outbox is large.'],
    rotation: ['outbox', 'Published events cannot be removed.'], dead_letters: ['outbox', 'Some events are dead letters.'],
    queue: ['queue', 'Something is wrong with the queue.'], workers: ['worker', 'A worker is missing.'],
    canary: ['worker', 'The canary does not come through.'], watched: ['database', 'A watched table has a problem.'],
};

// Rows that say what nothing above has said. That nobody consumes is no news where it is our own trouble.
function judgeHealth(told, problems) {
    const ours = problems.some((problem) => /queue|worker|redis/.test(problem.part) && problem.level === 'bad');
    for (const row of told.health || []) {
        const level = { critical: 'bad', warning: 'warn' }[row.status];
        const [part, title] = CHECKS[row.check] || ['outbox', `${row.check}: ${row.status}.`];
        if (!level || (ours && /queue|worker/.test(part))) continue;
        if (!problems.some((problem) => problem.part === part || (problem.part === 'queue' && part === 'relay')))
            problems.push({ part, level, title, why: sentence(row.detail), hint: row.hint || '', code: '' });
    }
}

function judgeDatabase(database, brokerDown, problems) {
    if (database.state === 'away') {
        problems.push({ part: 'database', level: 'bad', title: 'The database does not answer.', why: sentence(database.reason),
            hint: 'Asked as --report-to says. What is shown of it is what it said last.', code: '' });
        return;
    }
    const told = database.pipeline;
    if (!told) return;
    judgeRelay(told, brokerDown, problems);
    if (told.dead > 0)
        problems.push({ part: 'outbox', level: 'warn', title: 'Some events are dead letters.', why: 'The broker will never take them as they are.',
            hint: 'Which, and why:', code: "SELECT event_id, routing_key, reason FROM outbox.dead_letter WHERE state = 'dead';" });
    judgeHealth(told, problems);
}

function judgeWorker(told, problems) {
    const { worker, broker, redis, queue } = told;
    const add = (part, level, title, why, hint, code) => problems.push({ part, level, title, why: sentence(why), hint: hint || '', code: code || '' });
    const recent = samples.slice(-4);
    const dead = samples.reduce((sum, sample) => sum + sample.dead_lettered, 0);

    if (broker.trouble)
        add('queue', 'bad', 'RabbitMQ is away.', broker.trouble, 'Commits go on. Events wait, and flow by themselves once it is back.');
    if (redis.trouble)
        add('redis', 'bad', REFUSES.test(redis.trouble) ? 'Redis refuses.' : 'Redis is away.', redis.trouble,
            'Messages are kept. Deletions go on by themselves once it is back.');
    if (worker.reason && !broker.trouble && !redis.trouble)
        add('worker', worker.state === 'starting' && worker.uptime_s < 5 ? 'warn' : worker.state === 'consuming' || worker.state === 'stopping' ? 'warn' : 'bad',
            worker.state === 'stopping' ? 'The worker is stopping.' : 'The worker takes no messages.', worker.reason === 'stopping' ? '' : worker.reason);
    else if (worker.letters_trouble)
        add('worker', 'warn', 'Dead letters wait.', worker.letters_trouble);
    if (worker.patterns_trouble)
        add('redis', 'warn', 'Patterns wait.', worker.patterns_trouble, 'Keys are deleted all the same.');
    if (!worker.reason && recent.length === 4 && recent.every((sample) => sample.in_flight > 0 && sample.messages === 0))
        add('redis', 'warn', 'Redis is slow to answer.', 'messages are in hand, and none was finished for some seconds',
            'A pattern that is scanned for takes its time, too.');
    if (dead > 0)
        add('worker', 'warn', 'Some messages were not understood.', `they lie in the queue ${queue.name}.dead, each with its reason`,
            'After a fix they are sent back by', 'outbox-worker --replay-dead');
}

const ORDER = ['worker-silent', 'database', 'relay', 'queue', 'worker', 'redis', 'outbox'];

function judge() {
    const problems = [];
    if (silent) {
        problems.push({ part: 'worker', level: 'bad', title: 'The worker does not answer.',
            why: 'What you see below is what it said last.', hint: 'Does it run?', code: 'systemctl status outbox-worker' });
        return problems;
    }
    judgeWorker(last, problems);
    judgeDatabase(last.database, Boolean(last.broker.trouble), problems);
    return problems.sort((a, b) => (a.level === 'warn') - (b.level === 'warn') || ORDER.indexOf(a.part) - ORDER.indexOf(b.part));
}

const ICONS = {
    good: 'M5 12.5 10 17.5 19 7', warn: 'M12 5V13.5M12 18V18.2', bad: 'M12 5V13.5M12 18V18.2', none: 'M7 12H7.1M12 12H12.1M17 12H17.1',
};

function showVerdict(problems) {
    const first = problems[0];
    const level = first ? first.level : 'good';
    const known = last.database.pipeline !== null;
    set($('verdict'), 'data-level', level);
    set($('verdict-icon').firstElementChild, 'd', ICONS[level]);
    say($('headline'), first ? first.title : 'All is well.');
    say($('why'), first ? first.why : known ? 'Every part answers, and nothing is stuck.'
        : 'The worker, RabbitMQ and Redis answer, and nothing is stuck.');
    $('hint').hidden = !first || !(first.hint || first.code);
    say($('hint-text'), first ? first.hint : '');
    say($('hint-code'), first ? first.code : '');
    showAlso(problems.slice(1));
    const title = first ? `(!) ${first.title.replace(/\.$/, '')} – ${last.worker.name}` : `${last.worker.name}: all is well`;
    if (document.title !== title) document.title = title;
    const colour = { good: '0a7d5a', warn: 'd98a00', bad: 'd02a1e' }[level];
    const shape = level === 'good' ? '<circle cx="8" cy="8" r="6"' : '<path d="M8 1 15 14H1z"';
    set($('icon'), 'href', `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="${SVG}" viewBox="0 0 16 16">${shape} fill="#${colour}"/></svg>`)}`);
}

function showAlso(problems) {
    const words = problems.map((problem) => [problem.title, problem.why].filter(Boolean).join(' '));
    const list = $('also');
    list.hidden = words.length === 0;
    if ([...list.children].map((item) => item.textContent).join('\n') === words.join('\n')) return;
    list.replaceChildren(...problems.map((problem, i) => make('li', { 'data-level': problem.level }, words[i])));
}

// ---- the picture ----

const GLYPHS = {
    database: 'M4 6c0-4 16-4 16 0v12c0 4-16 4-16 0zM4 6c0 4 16 4 16 0M4 12c0 4 16 4 16 0',
    outbox: 'M3 13h5l2 3h4l2-3h5M3 13 6 5h12l3 8v6H3z',
    relay: 'M3 11 21 4 15 20 11 13zM11 13 21 4',
    queue: 'M4 7h16v10H4zM9 7v10M14 7v10',
    worker: 'M12 8.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 1 0 0-7M12 3v3M12 18v3M3 12h3M18 12h3M5.6 5.6l2.2 2.2M16.2 16.2l2.2 2.2M5.6 18.4l2.2-2.2M16.2 7.8l2.2-2.2',
    redis: 'M13 2 5 14h6l-1 8 9-13h-7z',
};
const PARTS = [['database', 'Database'], ['outbox', 'Outbox'], ['relay', 'Relay'], ['queue', 'Queue'],
    ['worker', 'Worker'], ['redis', 'Redis']];
let picture = {};

function drawPart(id, title, x, y, narrow) {
    const [width, height] = narrow ? [300, 62] : [124, 118];
    const value = narrow ? { x: width - 16, y: 28, 'text-anchor': 'end' } : { x: 14, y: 76 };
    const sub = narrow ? { x: width - 16, y: 47, 'text-anchor': 'end' } : { x: 14, y: 99 };
    const part = {
        value: draw('text', { class: 'value', ...value }),
        sub: draw('text', { class: 'soft', ...sub }),
        mark: draw('text', { y: 5 }, '!'),
    };
    part.group = draw('g', { id: `part-${id}`, transform: `translate(${x} ${y})`, 'data-state': 'unknown' },
        draw('rect', { class: 'box', width, height, rx: 12 }),
        draw('path', { class: 'glyph', d: GLYPHS[id], transform: narrow ? 'translate(16 19)' : 'translate(13 13)' }),
        draw('text', narrow ? { class: 'title', x: 52, y: 36 } : { class: 'title', x: 45, y: 30 }, title),
        part.value, part.sub,
        draw('g', { class: 'mark', transform: `translate(${width - 4} 4)` }, draw('circle', { r: 11 }), part.mark));
    return part;
}

function drawLink(id, narrow, x, y) {
    const d = narrow ? `M${x} ${y}v24` : `M${x} ${y}h42`;
    const tip = narrow ? `M${x - 5} ${y + 24}h10l-5 8z` : `M${x + 42} ${y - 5}v10l8-5z`;
    const link = { rate: draw('text', narrow ? { class: 'rate', x: x + 14, y: y + 20 }
        : { class: 'rate', x: x + 25, y: y - 12, 'text-anchor': 'middle' }),
    unit: draw('text', narrow ? { class: 'rate' } : { class: 'rate', x: x + 25, y: y + 22, 'text-anchor': 'middle' }) };
    link.group = draw('g', { id: `link-${id}`, 'data-state': 'unknown' }, draw('path', { class: 'way', d }),
        draw('path', { class: 'moving', d }), draw('path', { class: 'tip', d: tip }), link.rate, link.unit);
    return link;
}

function drawPicture() {
    const narrow = NARROW.matches;
    const flow = $('flow');
    picture = { narrow };
    flow.replaceChildren($('flow-title'), $('flow-text'));
    set(flow, 'viewBox', narrow ? '0 0 334 572' : '0 0 1068 190');
    const label = (x, y, text) => draw('text', { class: 'soft', x, y }, text);
    if (narrow) flow.append(draw('rect', { class: 'room', x: 2, y: 26, width: 328, height: 270, rx: 18 }), label(18, 17, 'PostgreSQL'));
    else flow.append(draw('rect', { class: 'room', x: 2, y: 26, width: 524, height: 162, rx: 18 }), label(18, 17, 'PostgreSQL'),
        label(586, 17, 'RabbitMQ'));
    const at = (i) => (narrow ? [16, 44 + i * 90] : [18 + i * 184, 48]);
    PARTS.forEach(([id, title], i) => {
        const [x, y] = at(i);
        if (i > 0) {
            const [fromX, fromY] = at(i - 1);
            picture[`link-${id}`] = narrow ? drawLink(id, true, 44, fromY + 62) : drawLink(id, false, fromX + 129, y + 58);
            flow.append(picture[`link-${id}`].group);
        }
        picture[id] = drawPart(id, title, x, y, narrow);
        flow.append(picture[id].group);
    });
}

// Each part: [value, words below]; unknown: nobody told.
function partsNow() {
    const { worker, queue, broker, redis, database } = last;
    const told = database.pipeline;
    const off = ['?', database.state === 'asking' ? 'asking …' : 'not told'];
    const gone = database.state === 'away' ? 'no answer' : 'answers';
    return {
        database: told ? [cut(told.database, 10), gone] : database.state === 'away' ? ['?', 'no answer'] : off,
        outbox: told ? [count(told.lag.pending_events), told.lag.lag_s >= 1 ? `pending, ${seconds(told.lag.lag_s)}` : 'pending'] : off,
        relay: told ? [cut({ 'waiting to reconnect': 'waiting', 'not running': 'down' }[told.relay.state] || told.relay.state, 11),
            told.parked.events > 0 ? `${count(told.parked.events)} parked` : told.relay.state === 'waiting to reconnect' ? 'to reconnect' : `${count(told.relay.confirmed)} sent`] : off,
        queue: [count(queue.messages), broker.up ? 'messages wait' : 'at the last look'],
        worker: [count(worker.in_flight), silent ? 'no answer' : /^(consuming|waiting)/.test(worker.state) ? 'in hand' : cut(worker.state, 18)],
        redis: [redis.up ? milliseconds(last.redis_time.p50_ms) : 'away', redis.up ? 'to answer' : 'no answer'],
    };
}

function linksNow() {
    const told = last.database.pipeline;
    return {
        outbox: told ? [Math.max(0, outboxRate('events') + outboxRate('pending')), 'events/s'] : null,
        relay: told ? [outboxRate('events'), 'events/s'] : null,
        queue: told ? [outboxRate('messages'), 'msgs/s'] : null,
        worker: [rateOf('messages'), 'msgs/s'],
        redis: [rateOf('keys_deleted'), 'keys/s', rateOf('messages')],
    };
}

const MARKS = { bad: '!', warn: '!', unknown: '?' };

function stateOf(id, problems) {
    const mine = problems.filter((problem) => problem.part === id);
    if (mine.length) return mine.some((problem) => problem.level === 'bad') ? 'bad' : 'warn';
    if (silent) return 'unknown';
    const isTold = /queue|worker|redis/.test(id) || (last.database.pipeline && last.database.state !== 'away');
    return isTold ? 'good' : 'unknown';
}

const WORDS = { good: '', bad: ' – stuck here', warn: ' – needs care', unknown: ' – not known' };

function showPicture(problems) {
    const parts = partsNow();
    const links = linksNow();
    const text = [];
    // Where the broker is away, both who want to reach it are cut off.
    const cutOff = (id) => (id === 'redis' || id === 'queue' ? stateOf(id, problems) === 'bad'
        : id === 'worker' && Boolean(last.broker.trouble)) || (id === 'queue' && /waiting|blocked|paused|not running|copied/.test((last.database.pipeline || { relay: {} }).relay.state));
    for (const [id, title] of PARTS) {
        const state = stateOf(id, problems);
        set(picture[id].group, 'data-state', state);
        say(picture[id].mark, MARKS[state] || '');
        say(picture[id].value, parts[id][0]);
        set(picture[id].value, 'class', parts[id][0].length > 8 ? 'value long' : 'value');
        say(picture[id].sub, parts[id][1]);
        text.push(`${title}: ${parts[id].join(' ')}${WORDS[state]}.`);
        const link = picture[`link-${id}`];
        if (!link) continue;
        const rate = links[id];
        const isCut = cutOff(id) && !silent;
        set(link.group, 'data-state', isCut ? 'bad' : rate && !silent ? 'good' : 'unknown');
        set(link.group, 'data-flows', rate && Math.max(rate[0], rate[2] || 0) > 0 && !isCut && !silent ? '' : null);
        say(link.rate, rate && !silent ? picture.narrow ? `${perSecond(rate[0])} ${rate[1]}` : perSecond(rate[0]) : '');
        say(link.unit, rate && !silent && !picture.narrow ? rate[1] : '');
    }
    say($('flow-text'), text.join(' '));
}

const NOTES = {
    off: ['Of the database, the outbox and the relay nothing is known here. The worker asks them if it is started with', "--report-to='host=db dbname=blog user=reporter'"],
    refused: ['The database does not tell this worker about the outbox. Its role needs the right:', 'GRANT USAGE ON SCHEMA outbox TO reporter; GRANT EXECUTE ON FUNCTION outbox.pipeline, outbox.report_consumer TO reporter;'],
};

function showNote() {
    const { database } = last;
    const note = NOTES[database.state];
    $('note').hidden = !note;
    say($('note-text'), note ? (database.reason ? `${note[0]} (${database.reason})` : note[0]) : '');
    say($('note-code'), note ? note[1] : '');
}

// ---- the plots ----

const HEIGHT = 100;

function quantiles(of) {
    return of.p50_ms === null ? ['–', 'nothing yet', ''] : [milliseconds(of.p50_ms), 'half of them', `99 % within ${milliseconds(of.p99_ms)}`];
}

const PLOTS = [
    { id: 'delay', title: 'From commit to deletion', first: 'delay_p50_us', second: 'delay_p99_us', log: true,
        now: () => quantiles(last.delay), unit: (us) => milliseconds(us / 1000) },
    { id: 'messages', title: 'Messages a second', first: 'messages', second: null,
        now: () => [perSecond(rateOf('messages')), `${count(last.worker.messages)} since it started`, ''], unit: count },
    { id: 'waiting', title: 'Messages that wait in the queue', first: 'queue_messages', second: null, area: true,
        now: () => [count(last.queue.messages), last.database.pipeline ? `and ${some(last.database.pipeline.lag.pending_events, 'event')} in the outbox` : '', ''], unit: count },
    { id: 'redis', title: 'Redis’ time to answer', first: null, second: 'redis_p99_us', log: true,
        now: () => quantiles(last.redis_time), unit: (us) => milliseconds(us / 1000) },
];

function drawPlots() {
    for (const plot of PLOTS) {
        plot.value = make('b');
        // Swatches where there are two kinds of bars.
        plot.words = [plot.log && plot.first ? 'key' : '', plot.log ? 'key light' : ''].map((swatch) => {
            const text = make('span');
            return { text, all: make('span', {}, ...(swatch ? [make('i', { class: swatch })] : []), text) };
        });
        plot.svg = draw('svg', { viewBox: `0 0 ${KEPT} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': plot.title },
            ...['away', 'grid', 'area', 'second', 'first'].map((name) => (plot[`${name}Path`] = draw('path', { class: name }))));
        plot.field = make('div', { class: 'field' }, plot.svg);
        const title = make('h3', {}, plot.title);
        $('plots').append(make('div', { class: 'plot', id: `plot-${plot.id}` }, title, make('div', { class: 'now' }, plot.value, ...plot.words.map((words) => words.all)),
            plot.field, make('div', { class: 'axis', 'aria-hidden': 'true' }, make('span', {}, '10 min ago'), make('span', {}, 'now'))));
    }
}

function niceAbove(value) {
    const step = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
    return [1, 2, 5, 10].map((n) => n * step).find((n) => n >= value);
}

// Where a value stands, from 0 (bottom) to 1, and the values of the lines across.
function scaleOf(plot) {
    const seen = samples.flatMap((sample) => [plot.first && sample[plot.first], plot.second && sample[plot.second]]).filter((v) => v !== null);
    const most = Math.max(0, ...seen);
    if (!plot.log) {
        // A backlog that is done within a second shall not flatten all others: it reaches the top.
        const usual = plot.area ? most : seen.sort((a, b) => a - b)[Math.floor(seen.length * 0.99)] || 0;
        const top = Math.max(niceAbove(usual), 10);
        return { place: (v) => Math.min(1, v / top), lines: [top / 2, top] };
    }
    const low = Math.floor(Math.log10(Math.max(1, Math.min(1000, ...seen))));
    const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(most, 10 ** (low + 1)))));
    const lines = [];
    for (let decade = low + 1; decade <= high; decade++) lines.push(10 ** decade);
    while (lines.length > 4) lines.splice(0, lines.length, ...lines.filter((_, i) => (lines.length - 1 - i) % 2 === 0));
    return { place: (v) => Math.max(0.015, (Math.log10(Math.max(v, 1)) - low) / (high - low)), lines };
}

function showScale(plot, scale) {
    const words = scale.lines.map((value) => plot.unit(value));
    if (plot.shown === words.join()) return;
    plot.shown = words.join();
    plot.field.querySelectorAll('.scale').forEach((label) => label.remove());
    scale.lines.forEach((value, i) => {
        const label = make('span', { class: 'scale', 'aria-hidden': 'true' }, words[i]);
        label.style.top = `${100 * (1 - scale.place(value))}%`;
        plot.field.append(label);
    });
    set(plot.gridPath, 'd', scale.lines.map((value) => `M0 ${HEIGHT * (1 - scale.place(value))}H${KEPT}`).join(''));
}

function showPlot(plot) {
    const scale = scaleOf(plot);
    const y = (v) => (HEIGHT * (1 - scale.place(v))).toFixed(1);
    const x = (i) => KEPT - samples.length + i;
    const bars = (name) => samples.map((sample, i) => (sample[name] ? `M${x(i)} ${HEIGHT}V${y(sample[name])}` : '')).join('');
    showScale(plot, scale);
    set(plot.awayPath, 'd', samples.map((sample, i) => (sample.broker_up && sample.redis_up ? '' : `M${x(i)} 0h1v${HEIGHT}h-1z`)).join(''));
    if (plot.area) {
        const line = samples.map((sample, i) => `${x(i)} ${y(sample[plot.first] || 0)}`);
        set(plot.firstPath, 'd', line.length > 1 ? `M${line.join('L')}` : '');
        set(plot.areaPath, 'd', line.length > 1 ? `M${x(0)} ${HEIGHT}L${line.join('L')}L${KEPT - 1} ${HEIGHT}z` : '');
    } else {
        set(plot.firstPath, 'd', plot.first ? bars(plot.first) : '');
        set(plot.secondPath, 'd', plot.second ? bars(plot.second) : '');
    }
    const [value, ...words] = plot.now();
    say(plot.value, value);
    words.forEach((text, i) => {
        plot.words[i].all.hidden = text === '';
        say(plot.words[i].text, text);
    });
    const values = samples.map((sample) => sample[plot.second || plot.first]).filter((v) => v !== null);
    set(plot.svg, 'aria-label', `${plot.title}, last ten minutes: now ${[value, ...words].filter(Boolean).join(', ')}; at most ${values.length ? plot.unit(Math.max(...values)) : 'nothing yet'}`);
}

function median(values) {
    const known = values.filter((value) => value !== null).sort((a, b) => a - b);
    return known.length ? known[Math.floor(known.length / 2)] : null;
}

function most(values) {
    const known = values.filter((value) => value !== null);
    return known.length ? Math.max(...known) : null;
}

function showTable() {
    if (!$('table').open) return;
    const rows = [];
    for (let minute = 0; minute * 60 < samples.length; minute++) {
        const seen = samples.slice(Math.max(0, samples.length - 60 * (minute + 1)), samples.length - 60 * minute);
        const all = (name) => seen.map((sample) => sample[name]);
        const sum = (name) => count(all(name).reduce((a, b) => a + b, 0));
        const ms = (us) => milliseconds(us === null ? null : us / 1000);
        const up = seen.filter((sample) => sample.broker_up && sample.redis_up).length / seen.length;
        rows.push([minute ? `${minute} to ${minute + 1}` : 'less than 1', sum('messages'), sum('keys_deleted'), sum('dead_lettered'),
            ms(median(all('delay_p50_us'))), ms(most(all('delay_p99_us'))), count(most(all('queue_messages'))), up === 1 ? 'yes' : up ? 'in part' : 'no']);
    }
    const body = $('minutes');
    while (body.rows.length > rows.length) body.deleteRow(-1);
    rows.forEach((cells, i) => {
        const row = body.rows[i] || body.insertRow();
        cells.forEach((cell, j) => {
            if (!row.cells[j]) row.append(make(j ? 'td' : 'th', j ? {} : { scope: 'row' }));
            say(row.cells[j], cell);
        });
    });
}

// ---- health, parts, about ----

const LEVELS = { ok: 'good', warning: 'warn', critical: 'bad' };

function showHealth() {
    const rows = (last.database.pipeline && last.database.pipeline.health) || [];
    $('health').hidden = rows.length === 0;
    const list = $('checks');
    while (list.children.length > rows.length) list.lastElementChild.remove();
    rows.forEach((row, i) => {
        const item = list.children[i] || list.appendChild(make('li', {}, make('span', { class: 'name' }), make('span'), make('span', { class: 'advice' })));
        set(item, 'data-level', LEVELS[row.status] || 'warn');
        say(item.children[0], `${String(row.check).replaceAll('_', ' ')}${row.status === 'ok' ? '' : `: ${row.status}`}`);
        say(item.children[1], row.detail || '');
        say(item.children[2], row.status === 'ok' ? '' : row.hint || '');
    });
}

function showParts() {
    const { worker, broker, redis, queue, database } = last;
    const told = database.pipeline;
    const side = (at, words) => (at.up ? `connected${at.reconnects ? `, ${at.reconnects === 1 ? 'once' : `${count(at.reconnects)} times`} made again` : ''}` : words);
    const rows = [];
    if (told)
        rows.push(['Database', told.database, database.state === 'away' ? `silent, last heard of ${ago(database.age_s)}` : 'answers'],
            ['Outbox', `${some(told.lag.pending_events, 'event')} pending, ${bytes(told.lag.outbox_bytes)}`,
                `${count(told.parked.events)} parked, ${some(told.dead, 'dead letter')}`],
            ['Relay', `${told.relay.state}${told.relay.broker ? `, ${told.relay.broker}` : ''}`,
                `${some(told.relay.events, 'event')}, ${some(told.relay.messages, 'message')}, ${some(told.relay.keys, 'key')}; ${some(told.relay.keys_coalesced, 'key')} saved by merging${
                    told.relay.last_error ? `. Last error, ${ago(told.relay.last_error_age_s || 0)}: ${told.relay.last_error}` : ''}`]);
    rows.push(['Queue', `${queue.name} at ${broker.name}`, side(broker, 'not connected')],
        ['Worker', `${worker.name}: ${worker.state}`, `${some(worker.messages, 'message')}, ${some(worker.keys_deleted, 'key')} deleted, ${some(worker.patterns, 'pattern')}, ${
            some(worker.dead_lettered, 'dead letter')}${worker.last_error ? `. Last error: ${worker.last_error}` : ''}`],
        ['Redis', redis.name, side(redis, 'not connected')]);
    const list = $('parts');
    while (list.children.length > rows.length) list.lastElementChild.remove();
    rows.forEach((row, i) => {
        const item = list.children[i] || list.appendChild(make('div', {}, make('dt'), make('dd'), make('dd')));
        row.forEach((text, j) => say(item.children[j], text));
    });
}

function showClock() {
    set($('pulse'), 'class', silent ? 'late' : 'live');
    const at = new Date(Date.now() - (performance.now() - heardAt)).toLocaleTimeString([], { hour12: false });
    say($('clock-text'), silent ? `last heard of at ${at}` : `live, ${at}`);
}

// ---- together ----

function show() {
    if (!last) {
        if (!silent) return;
        set($('verdict'), 'data-level', 'bad');
        say($('headline'), 'The worker does not answer.');
        return;
    }
    const problems = judge();
    showVerdict(problems);
    showPicture(problems);
    showNote();
    PLOTS.forEach(showPlot);
    showTable();
    showHealth();
    showParts();
    showClock();
    say($('name'), last.worker.name);
    say($('about'), `Version ${last.worker.version}, up for ${seconds(last.worker.uptime_s)}. Delays are those of the last 1,024 messages.`);
}

async function ask() {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), LIMIT_MS);
    try {
        const answer = await fetch(`status.json?since=${next}`, { cache: 'no-store', signal: abort.signal });
        if (!answer.ok) throw new Error(answer.statusText);
        const told = await answer.json();
        mindForm(told.database);
        // Another process: its seconds are numbered anew.
        if (last && told.worker.uptime_s < last.worker.uptime_s) next = -1;
        takeHistory(told.history);
        takeDatabase(told.database);
        last = told;
        heardAt = performance.now();
        silent = false;
    } catch {
        silent = true;
    } finally {
        clearTimeout(timer);
    }
}

async function turn() {
    const began = performance.now();
    await ask();
    try {
        show();
    } finally {
        setTimeout(turn, Math.max(200, (document.hidden ? HIDDEN_PERIOD_MS : PERIOD_MS) - (performance.now() - began)));
    }
}

NARROW.addEventListener('change', () => { drawPicture(); show(); });
$('table').addEventListener('toggle', () => { if (last) showTable(); });
drawPicture();
drawPlots();
turn();
