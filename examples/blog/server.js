"use strict";

// A small blog over HTTP. It reads through a cache and writes to the database, and that is all:
// which cached copies a write makes old is said once, in schema.sql.
//
//   GET /                     a page for people
//   GET /blogs                the newest posts     (cached as blogs:all)
//   GET /blogs?before=<id>    older ones           (not cached)
//   GET /blogs/<id>           one post             (cached as blog:<id>)
//   GET /authors/<id>/blogs   an author's posts    (cached as author:<id>:blogs)
//   POST /blogs               {"author_id", "title", "body"}
//   PUT /blogs/<id>           any of these
//   DELETE /blogs/<id>

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { Pool } = require("pg");
const { createCache } = require("./cache");
const { createPosts } = require("./posts");

const BODY_BYTES_MAX = 1024 * 1024;
const TITLE_CHARACTERS_MAX = 300;
const STOP_WITHIN_MS = 5000;

const settings = {
  host: process.env.HOST || "127.0.0.1",
  port: Number(process.env.PORT || 3000),
  database: process.env.DATABASE_URL, // else PGHOST, PGPORT, PGDATABASE, PGUSER as psql reads them
  redis: process.env.REDIS_URL || "redis://127.0.0.1:6379/0",
  ttl: Number(process.env.CACHE_TTL || 300),
};

const log = (words) => console.log(`blog: ${words}`);
const page = fs.readFileSync(path.join(__dirname, "page.html"));

class Refusal extends Error {
  constructor(status, words, headers = {}) {
    super(words);
    this.status = status;
    this.headers = headers;
  }
}

// ---- what comes in ------------------------------------------------------------------------------

async function readJson(request) {
  const parts = [];
  let bytes = 0;
  for await (const part of request) {
    bytes += part.length;
    if (bytes > BODY_BYTES_MAX) {
      throw new Refusal(413, "a post may have 1 MB at most", { Connection: "close" });
    }
    parts.push(part);
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(parts));
    return JSON.parse(text);
  } catch (error) {
    throw new Refusal(400, `the body is not JSON: ${error.message}`);
  }
}

function readUrl(text) {
  try {
    return new URL(text, "http://blog");
  } catch {
    throw new Refusal(400, "the address cannot be read");
  }
}

function readId(text) {
  if (!/^[1-9][0-9]{0,17}$/.test(text)) {
    throw new Refusal(404, `"${text}" is no id`);
  }
  return text;
}

function checkText(post, name, required) {
  const value = post[name];
  if (value === undefined && !required) {
    return;
  }
  if (typeof value !== "string") {
    throw new Refusal(400, `"${name}" must be text`);
  }
  if (value.includes("\0")) {
    throw new Refusal(400, `"${name}" holds a NUL, which no text may`);
  }
}

function checkPost(post, required) {
  if (post === null || typeof post !== "object" || Array.isArray(post)) {
    throw new Refusal(400, "the body must be a JSON object");
  }
  checkText(post, "title", required);
  checkText(post, "body", required);
  if (post.title !== undefined) {
    if (post.title.trim() === "") {
      throw new Refusal(400, '"title" must not be empty');
    }
    if (post.title.length > TITLE_CHARACTERS_MAX) {
      throw new Refusal(400, `"title" may have ${TITLE_CHARACTERS_MAX} characters at most`);
    }
  }
  if (post.author_id !== undefined || required) {
    if (!/^[1-9][0-9]{0,17}$/.test(String(post.author_id))) {
      throw new Refusal(400, '"author_id" must be an author\'s id');
    }
  }
  return post;
}

// ---- what goes out ------------------------------------------------------------------------------

function send(response, status, json, headers = {}) {
  if (json === undefined) {
    response.writeHead(status, headers).end();
    return;
  }
  const content = Buffer.from(`${json}\n`);
  response.writeHead(status, {
    "Content-Type": "application/json; charset=utf-8",
    "Content-Length": content.length,
    ...headers,
  });
  response.end(content);
}

function sendCached(response, { from, json }, words) {
  if (json === undefined) {
    throw new Refusal(404, words, { "X-Cache": from });
  }
  send(response, 200, json, { "X-Cache": from });
}

function sendError(response, error) {
  const refusal = error instanceof Refusal ? error : refusalFor(error);
  if (refusal.status >= 500) {
    log(`${error.message || error.code || error}`);
  }
  if (response.headersSent) {
    response.destroy();
    return;
  }
  send(response, refusal.status, JSON.stringify({ error: refusal.message }), refusal.headers);
}

const FOREIGN_KEY_VIOLATION = "23503";
const AWAY = /^(08|53|57)...$|^E[A-Z]{3,}$/; // SQLSTATE classes, and the names of socket errors
const AWAY_WORDS = /^(Connection terminated|timeout exceeded)/;

function refusalFor(error) {
  if (error.code === FOREIGN_KEY_VIOLATION) {
    return new Refusal(400, "there is no such author");
  }
  if (AWAY.test(error.code || "") || AWAY_WORDS.test(error.message)) {
    return new Refusal(503, "the database is away; try again", { "Retry-After": "1" });
  }
  return new Refusal(500, "this failed; the blog's log says why");
}

// ---- the routes ---------------------------------------------------------------------------------

function createRoutes(posts, cache) {
  const list = {
    async GET({ response, url }) {
      const before = url.searchParams.get("before");
      if (before !== null) {
        send(response, 200, JSON.stringify(await posts.olderThan(readId(before))));
        return;
      }
      sendCached(response, await cache.read("blogs:all", () => posts.newest()));
    },
    async POST({ request, response }) {
      const id = await posts.create(checkPost(await readJson(request), true));
      send(response, 201, JSON.stringify({ id }), { Location: `/blogs/${id}` });
    },
  };

  const one = {
    async GET({ response, id }) {
      const found = await cache.read(`blog:${id}`, () => posts.one(id));
      sendCached(response, found, `there is no post ${id}`);
    },
    async PUT({ request, response, id }) {
      if (!(await posts.change(id, checkPost(await readJson(request), false)))) {
        throw new Refusal(404, `there is no post ${id}`);
      }
      send(response, 200, JSON.stringify({ id }));
    },
    async DELETE({ response, id }) {
      if (!(await posts.remove(id))) {
        throw new Refusal(404, `there is no post ${id}`);
      }
      send(response, 204);
    },
  };

  const ofAuthor = {
    async GET({ response, id }) {
      const found = await cache.read(`author:${id}:blogs`, () => posts.ofAuthor(id));
      sendCached(response, found, `there is no author ${id}`);
    },
  };

  const home = {
    async GET({ response }) {
      response.writeHead(200, {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": page.length,
      });
      response.end(page);
    },
  };

  return [
    [/^\/$/, home],
    [/^\/blogs\/?$/, list],
    [/^\/blogs\/([^/]+)$/, one],
    [/^\/authors\/([^/]+)\/blogs$/, ofAuthor],
  ];
}

async function answer(routes, request, response) {
  const url = readUrl(request.url);
  for (const [pattern, methods] of routes) {
    const match = pattern.exec(url.pathname);
    if (!match) {
      continue;
    }
    const method = request.method === "HEAD" ? "GET" : request.method;
    if (!Object.hasOwn(methods, method)) {
      const allowed = Object.keys(methods).join(", ");
      throw new Refusal(405, `this address takes ${allowed}`, { Allow: allowed });
    }
    const id = match[1] === undefined ? undefined : readId(match[1]);
    await methods[method]({ request, response, url, id });
    return;
  }
  throw new Refusal(404, "there is nothing at this address");
}

// ---- starting and stopping ----------------------------------------------------------------------

function main() {
  const pool = new Pool({ connectionString: settings.database, connectionTimeoutMillis: 3000 });
  pool.on("error", (error) => log(`database: ${error.message}`));
  const cache = createCache({ url: settings.redis, ttl: settings.ttl, log });
  const routes = createRoutes(createPosts(pool), cache);

  const server = http.createServer((request, response) => {
    answer(routes, request, response).catch((error) => sendError(response, error));
  });
  server.on("error", (error) => {
    log(`cannot listen on ${settings.host}:${settings.port}: ${error.message}`);
    process.exit(1);
  });
  server.listen(settings.port, settings.host, () => {
    const { address, port } = server.address();
    log(`listening on http://${address.includes(":") ? `[${address}]` : address}:${port}/`);
  });

  let stopping = false;
  const stop = () => {
    if (stopping) {
      return;
    }
    stopping = true;
    setTimeout(() => process.exit(1), STOP_WITHIN_MS).unref();
    server.close(async () => {
      cache.close();
      await pool.end();
      log("stopped");
    });
    server.closeIdleConnections();
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}

main();
