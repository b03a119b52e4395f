"use strict";

// Measures, from outside: how long after a commit was acknowledged its keys are gone from Redis.
// Run by the demo with DATABASE_URL and REDIS_URL; prints one line of JSON.
//
//   node measure.js edits <n>        n single edits of posts, one after the other
//   node measure.js update <rows>    one UPDATE of that many rows of "comments"

const Redis = require("ioredis");
const { Client } = require("pg");

const GIVE_UP_MS = 30000;
const LOOK_EVERY_MS = 5;
const REST_MS = 5; // between edits: what is measured is a single edit on a quiet system
const KEYS_PER_COMMAND = 1000;

const now = () => Number(process.hrtime.bigint()) / 1e6;
const round = (ms) => Math.round(ms * 1000) / 1000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function percentile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]);
}

// Redis tells of each deletion as it happens, so nothing polls while the time runs.
async function watchDeletions(redis) {
  await redis.config("SET", "notify-keyspace-events", "Eg");
  const subscriber = redis.duplicate();
  const waiting = new Map();
  await subscriber.subscribe(`__keyevent@${redis.options.db || 0}__:del`);
  subscriber.on("message", (channel, key) => waiting.get(key)?.(now()));
  return {
    gone(key) {
      return new Promise((resolve, reject) => {
        const limit = setTimeout(() => reject(new Error(`${key} is still there`)), GIVE_UP_MS);
        waiting.set(key, (at) => {
          clearTimeout(limit);
          waiting.delete(key);
          resolve(at);
        });
      });
    },
    async end() {
      subscriber.disconnect();
      await redis.config("SET", "notify-keyspace-events", "");
    },
  };
}

async function measureEdits(database, redis, count) {
  const { rows } = await database.query(
    "SELECT id FROM blogs ORDER BY md5(id::text) LIMIT $1",
    [count],
  );
  const deletions = await watchDeletions(redis);
  const commits = [];
  const delays = [];
  for (let i = 0; i < count; i++) {
    const { id } = rows[i % rows.length];
    const key = `blog:${id}`;
    await redis.set(key, "a copy");
    const gone = deletions.gone(key);
    const start = now();
    await database.query("UPDATE blogs SET updated_at = clock_timestamp() WHERE id = $1", [id]);
    const committed = now();
    commits.push(committed - start);
    delays.push(Math.max(0, (await gone) - committed));
    await pause(REST_MS);
  }
  await deletions.end();
  return {
    edits: count,
    commit_median_ms: percentile(commits, 0.5),
    gone_median_ms: percentile(delays, 0.5),
    gone_p99_ms: percentile(delays, 0.99),
    gone_max_ms: percentile(delays, 1),
  };
}

const commentKeys = (first, count) =>
  Array.from({ length: count }, (_, i) => `comment:${first + i}`);

async function inChunks(count, act) {
  for (let first = 1; first <= count; first += KEYS_PER_COMMAND) {
    await act(commentKeys(first, Math.min(KEYS_PER_COMMAND, count - first + 1)));
  }
}

async function measureUpdate(database, redis, count) {
  await inChunks(count, (keys) => redis.mset(keys.flatMap((key) => [key, "a copy"])));
  const others = (await redis.dbsize()) - count;

  const start = now();
  const { rowCount } = await database.query(
    "UPDATE comments SET approved = NOT approved WHERE id <= $1",
    [count],
  );
  const committed = now();
  while ((await redis.dbsize()) > others) {
    if (now() - committed > GIVE_UP_MS) {
      throw new Error(`${(await redis.dbsize()) - others} of ${count} keys are still there`);
    }
    await pause(LOOK_EVERY_MS);
  }
  const gone = now();

  let left = 0;
  await inChunks(count, async (keys) => {
    left += await redis.exists(keys);
  });
  return {
    rows: rowCount,
    update_s: round((committed - start) / 1000),
    gone_s: round((gone - committed) / 1000),
    left,
  };
}

async function main() {
  const [what, count] = [process.argv[2], Number(process.argv[3])];
  const measure = { edits: measureEdits, update: measureUpdate }[what];
  if (!measure || !Number.isSafeInteger(count) || count < 1) {
    console.error("usage: measure.js edits|update <count>");
    process.exit(2);
  }
  const database = new Client({ connectionString: process.env.DATABASE_URL });
  const redis = new Redis(process.env.REDIS_URL);
  await database.connect();
  try {
    console.log(JSON.stringify(await measure(database, redis, count)));
  } finally {
    redis.disconnect();
    await database.end();
  }
}

main().catch((error) => {
  console.error(`measure: ${error.message}`);
  process.exit(1);
});
