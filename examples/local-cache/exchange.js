"use strict";

// A cache in the process, before the database: without Redis. Each process has a queue of its own, bound
// to the exchange that outbox.invalidation_exchange names, and hears of every invalidation.
//
// The queue lives as long as the connection. While there is none nobody tells us anything: the local copies
// are dropped and none are kept.
//
// Not for a cache before Redis: this process may hear of a change before outbox-worker does, and would
// fetch the old copy from Redis again. For that see tracking.js.

const amqp = require("amqplib");
const { createLocal } = require("./local");

const AGAIN_AFTER_MS = 500;
const HEARTBEAT_S = 2;

function createExchangeCache({ url, exchange, max, log = () => {} }) {
  const local = createLocal({ max });
  let connection;
  let timer;
  let closed = false;

  function take(message) {
    if (message === null) {
      connection.close().catch(() => {}); // the queue is gone
      return;
    }
    let body;
    try {
      body = JSON.parse(message.content.toString("utf8"));
    } catch (error) {
      local.clear(); // what it means nobody knows
      return;
    }
    for (const key of body.keys ?? []) {
      local.forget(key);
    }
    for (const pattern of body.patterns ?? []) {
      local.forgetMatching(pattern);
    }
  }

  function lost(reason) {
    if (local.following) {
      log(`local copies are dropped: ${reason}`);
    }
    local.pause();
    if (!closed && timer === undefined) {
      timer = setTimeout(follow, AGAIN_AFTER_MS);
    }
  }

  async function follow() {
    timer = undefined;
    try {
      connection = await amqp.connect(url, { heartbeat: HEARTBEAT_S });
      connection.on("error", (error) => log(error.message));
      connection.on("close", () => lost("the connection is closed"));
      const channel = await connection.createChannel();
      channel.on("error", (error) => log(error.message));
      channel.on("close", () => connection.close().catch(() => {}));
      const { queue } = await channel.assertQueue("", { exclusive: true, durable: false });
      await channel.bindQueue(queue, exchange, "");
      await channel.consume(queue, take, { noAck: true });
      local.resume();
      log("local copies are kept");
    } catch (error) {
      lost(error.message);
    }
  }

  follow();
  return {
    local,

    // The copy under `key`, else what `load` answers (undefined: there is none). `from`: "local", "load".
    async read(key, load) {
      const copy = local.get(key);
      if (copy !== undefined) {
        return { from: "local", value: copy };
      }
      const ticket = local.begin(key);
      let value;
      try {
        value = await load();
      } finally {
        local.end(ticket, value);
      }
      return { from: "load", value };
    },

    async close() {
      closed = true;
      clearTimeout(timer);
      await connection?.close().catch(() => {});
    },
  };
}

module.exports = { createExchangeCache };
