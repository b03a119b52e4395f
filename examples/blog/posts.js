"use strict";

// What the blog asks its database. Nothing here knows that there is a cache.

const PAGE = 50;

const POST = `
  SELECT b.id::text, b.title, b.body, b.created_at, b.updated_at,
         json_build_object('id', a.id::text, 'name', a.name) AS author
    FROM blogs b JOIN authors a ON a.id = b.author_id`;

const HEADLINE = `
  SELECT b.id::text, b.title, left(b.body, 200) AS beginning, b.updated_at,
         json_build_object('id', a.id::text, 'name', a.name) AS author
    FROM blogs b JOIN authors a ON a.id = b.author_id`;

function createPosts(pool) {
  const rows = async (sql, values) => (await pool.query(sql, values)).rows;

  return {
    newest: () => rows(`${HEADLINE} ORDER BY b.id DESC LIMIT ${PAGE}`),

    olderThan: (id) =>
      rows(`${HEADLINE} WHERE b.id < $1 ORDER BY b.id DESC LIMIT ${PAGE}`, [id]),

    async ofAuthor(id) {
      const [author] = await rows("SELECT id::text, name FROM authors WHERE id = $1", [id]);
      return (
        author &&
        rows(`${HEADLINE} WHERE b.author_id = $1 ORDER BY b.id DESC LIMIT ${PAGE}`, [id])
      );
    },

    one: async (id) => (await rows(`${POST} WHERE b.id = $1`, [id]))[0],

    async create({ author_id, title, body }) {
      const [{ id }] = await rows(
        "INSERT INTO blogs (author_id, title, body) VALUES ($1, $2, $3) RETURNING id::text",
        [author_id, title, body],
      );
      return id;
    },

    // The members that are absent stay as they are. False: there is no such post.
    async change(id, { author_id = null, title = null, body = null }) {
      const { rowCount } = await pool.query(
        `UPDATE blogs
            SET author_id = coalesce($2, author_id), title = coalesce($3, title),
                body = coalesce($4, body), updated_at = now()
          WHERE id = $1`,
        [id, author_id, title, body],
      );
      return rowCount > 0;
    },

    async remove(id) {
      return (await pool.query("DELETE FROM blogs WHERE id = $1", [id])).rowCount > 0;
    },
  };
}

module.exports = { createPosts };
