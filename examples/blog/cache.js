"use strict";

// Reads through Redis: the copy if there is one, else the database's answer, kept for the next
// reader. Redis is a help, never a condition: while it is away every read goes to the database,
// and after a failure it is left alone for a second, so that one frozen Redis does not make
// every reader wait.
//
// Whoever read a row just before it changed may store it just after the copy was deleted. Only
// the time to live ends that: no copy is wrong for longer than `ttl` seconds.

const Redis = require("ioredis");

const ANSWER_WITHIN_MS = 250;
const LEAVE_ALONE_MS = 1000;
const RECONNECT_AT_MOST_MS = 1000;

function createCache({ url, ttl, log }) {
  let leaveAloneUntil = 0;
  let lastComplaint = "";

  const redis = new Redis(url, {
    commandTimeout: ANSWER_WITHIN_MS,
    connectTimeout: 2000,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    retryStrategy: (attempt) => Math.min(50 * attempt, RECONNECT_AT_MOST_MS),
  });

  redis.on("error", (error) => complain(error));
  redis.on("ready", () => {
    if (lastComplaint) {
      log("redis: connected again");
    }
    lastComplaint = "";
  });

  function complain(error) {
    const words = error.message || error.code || String(error);
    if (words !== lastComplaint) {
      log(`redis: ${words}; reading from the database`);
    }
    lastComplaint = words;
  }

  async function ask(command) {
    if (redis.status !== "ready" || Date.now() < leaveAloneUntil) {
      return { answered: false };
    }
    try {
      return { answered: true, value: await command() };
    } catch (error) {
      leaveAloneUntil = Date.now() + LEAVE_ALONE_MS;
      complain(error);
      return { answered: false };
    }
  }

  return {
    // The JSON text under `key`, else what `load` answers (undefined: there is none, and nothing
    // is stored). `from` is "hit", "miss", or "off" while Redis is away. What was read while the
    // cache did not answer is not stored: it would arrive late, perhaps behind its own deletion.
    async read(key, load) {
      const copy = await ask(() => redis.get(key));
      if (copy.answered && copy.value !== null) {
        return { from: "hit", json: copy.value };
      }
      const fresh = await load();
      if (fresh === undefined) {
        return { from: copy.answered ? "miss" : "off", json: undefined };
      }
      const json = JSON.stringify(fresh);
      if (copy.answered) {
        await ask(() => redis.set(key, json, "EX", ttl));
      }
      return { from: copy.answered ? "miss" : "off", json };
    },

    close() {
      redis.disconnect();
    },
  };
}

module.exports = { createCache };
