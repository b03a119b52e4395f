"use strict";

// A cache in the process, before the one in Redis. Redis itself tells which keys are gone: it remembers
// who read a key (CLIENT TRACKING) and says so when outbox-worker, or anybody, deletes or changes it.
//
// Two connections, since ioredis speaks RESP2: one reads; the other one, `follower`, hears of deletions.
// If either of them is lost nobody tells us anything: the local copies are dropped and none are kept
// until both are there again. The follower is asked for a sign of life each second.

const Redis = require("ioredis");
const { createLocal } = require("./local");

const CHANNEL = "__redis__:invalidate";
const SIGN_OF_LIFE_MS = 1000;
const ANSWER_WITHIN_MS = 500;

// options: where Redis is, as ioredis takes it: a URL, or { sentinels, name }.
function createTrackedCache(options, { max, log = () => {} } = {}) {
  const local = createLocal({ max });
  const settings = {
    commandTimeout: ANSWER_WITHIN_MS,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    retryStrategy: (attempt) => Math.min(50 * attempt, 1000),
  };
  const connect = () =>
    typeof options === "string" ? new Redis(options, settings) : new Redis({ ...options, ...settings });
  const redis = connect();
  const follower = connect();
  let followerId; // of its present connection
  let alive;

  // null: everything (FLUSHALL).
  follower.on("messageBuffer", (channel, keys) => {
    if (keys === null) {
      local.clear();
      return;
    }
    for (const key of keys) {
      local.forget(key.toString());
    }
  });

  async function follow() {
    if (redis.status !== "ready" || followerId === undefined) {
      return;
    }
    await redis.client("TRACKING", "ON", "REDIRECT", followerId);
    local.resume();
    log("local copies are kept");
  }

  function lost(connection, error) {
    if (local.following) {
      log("local copies are dropped");
    }
    local.pause();
    if (error) {
      connection.disconnect(true);
    }
  }

  follower.on("ready", async () => {
    try {
      const id = await follower.client("ID");
      await follower.subscribe(CHANNEL);
      followerId = id;
      await follow();
    } catch (error) {
      lost(follower, error);
    }
  });
  follower.on("close", () => {
    followerId = undefined;
    lost(follower);
  });
  redis.on("ready", () => follow().catch((error) => lost(redis, error)));
  redis.on("close", () => lost(redis));
  for (const connection of [redis, follower]) {
    connection.on("error", (error) => log(error.message));
  }

  // A connection that was cut without a word looks like one on which nothing happens.
  alive = setInterval(() => {
    if (followerId !== undefined) {
      follower.ping().catch((error) => lost(follower, error));
    }
  }, SIGN_OF_LIFE_MS);

  return {
    local,

    // The text under `key`, or null. `from`: "local" or "redis". An error: Redis is away.
    async read(key) {
      const copy = local.get(key);
      if (copy !== undefined) {
        return { from: "local", value: copy };
      }
      const ticket = local.begin(key);
      let value = null;
      try {
        value = await redis.get(key);
      } finally {
        local.end(ticket, value === null ? undefined : value);
      }
      return { from: "redis", value };
    },

    close() {
      clearInterval(alive);
      redis.disconnect();
      follower.disconnect();
    },
  };
}

module.exports = { createTrackedCache };
