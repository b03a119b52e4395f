"use strict";

// What a process keeps in its own memory: a map of bounded size, the entry used longest ago goes first.
//
// A value is fetched outside, and meanwhile its key may be deleted: what was read before that must not
// be stored after it. So a fetch begins with a ticket, which `forget` makes void.
//
// While nobody tells us of deletions (`pause`) it is empty and stores nothing.

function createLocal({ max = 10000 } = {}) {
  const entries = new Map(); // in the order of their last use
  const tickets = new Map(); // key -> those under way
  let following = false;

  function voidTickets(set) {
    for (const ticket of set) {
      ticket.good = false;
    }
  }

  function forget(key) {
    entries.delete(key);
    voidTickets(tickets.get(key) ?? []);
  }

  function clear() {
    entries.clear();
    for (const set of tickets.values()) {
      voidTickets(set);
    }
  }

  return {
    forget,
    clear,

    // Every key that a Redis glob matches.
    forgetMatching(pattern) {
      const matches = globToRegExp(pattern);
      for (const key of [...entries.keys(), ...tickets.keys()]) {
        if (matches.test(key)) {
          forget(key);
        }
      }
    },

    pause() {
      following = false;
      clear();
    },

    resume() {
      following = true;
    },

    // undefined: it is not here.
    get(key) {
      const value = entries.get(key);
      if (value !== undefined) {
        entries.delete(key);
        entries.set(key, value);
      }
      return value;
    },

    // Before the value is fetched ...
    begin(key) {
      const ticket = { key, good: following };
      if (!tickets.has(key)) {
        tickets.set(key, new Set());
      }
      tickets.get(key).add(ticket);
      return ticket;
    },

    // ... and after. value undefined: there is none to keep.
    end(ticket, value) {
      const set = tickets.get(ticket.key);
      set.delete(ticket);
      if (set.size === 0) {
        tickets.delete(ticket.key);
      }
      if (!ticket.good || value === undefined) {
        return;
      }
      entries.delete(ticket.key);
      entries.set(ticket.key, value);
      if (entries.size > max) {
        entries.delete(entries.keys().next().value);
      }
    },

    get size() {
      return entries.size;
    },
    get following() {
      return following;
    },
  };
}

// Redis' globs: * ? [abc] [^abc] [a-c] and \ before a character that means itself. Redis counts bytes and
// we count characters, so "?" may match nothing here: rather one copy too many is dropped than one kept.
function globToRegExp(glob) {
  const literal = (c) => c.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
  let out = "";
  for (let i = 0; i < glob.length; i++) {
    const c = glob[i];
    const end = c === "[" ? glob.indexOf("]", i + 1) : -1;
    if (c === "*") {
      out += ".*";
    } else if (c === "?") {
      out += ".?";
    } else if (end > 0) {
      const set = glob.slice(i + 1, end);
      const not = set.startsWith("^");
      out += `[${not ? "^" : ""}${(not ? set.slice(1) : set).replace(/[\\[\]^]/g, "\\$&")}]`;
      i = end;
    } else if (c === "\\" && i + 1 < glob.length) {
      out += literal(glob[++i]);
    } else {
      out += literal(c);
    }
  }
  return new RegExp(`^${out}$`, "su");
}

module.exports = { createLocal, globToRegExp };
