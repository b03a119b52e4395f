-- COPY FROM is an INSERT of each row.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE copied (id int PRIMARY KEY, v text, twice int GENERATED ALWAYS AS (id * 2) STORED);
SELECT outbox.watch('copied', 'list', 'copied:{id}:{twice}');
COPY copied (id, v) FROM stdin;
1	a
2	b
\.
COPY copied (id) FROM PROGRAM 'printf "3\n4\n"' WHERE id = 4;
COPY copied (id) FROM stdin WITH (FREEZE off);
5
1
\.
CREATE TABLE copied_parted (id int) PARTITION BY LIST (id);
CREATE TABLE copied_parted_1 PARTITION OF copied_parted FOR VALUES IN (1);
CREATE TABLE copied_parted_2 PARTITION OF copied_parted FOR VALUES IN (2);
SELECT outbox.watch('copied_parted', 'parted:{id}');
COPY copied_parted FROM stdin;
1
2
\.
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
DROP TABLE copied, copied_parted;
