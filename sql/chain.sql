-- COMMIT AND CHAIN, ROLLBACK AND CHAIN: the next transaction begins with nothing recorded.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT outbox.invalidate('one', 'both');
COMMIT AND CHAIN;
SELECT outbox.invalidate('two', 'both');
SAVEPOINT s;
SELECT outbox.invalidate('lost');
ROLLBACK AND CHAIN;
SELECT outbox.invalidate('three', 'both');
COMMIT AND CHAIN;
COMMIT AND CHAIN;
SHOW transaction_isolation;
SELECT outbox.invalidate('four');
COMMIT;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- two statements in one query string are one transaction, unless one of them commits
SELECT max(id) AS start FROM outbox.event \gset
SELECT outbox.invalidate('a')\; SELECT outbox.invalidate('b');
SELECT outbox.invalidate('c')\; COMMIT\; SELECT outbox.invalidate('d');
SELECT outbox.invalidate('e')\; SELECT 1 / 0;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
