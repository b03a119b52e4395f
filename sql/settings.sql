-- Settings: names, defaults, ranges; a URL is never repeated.
LOAD 'pg_outbox';
SELECT name, boot_val, unit, min_val, max_val, enumvals, context
  FROM pg_settings WHERE name LIKE 'outbox.%' ORDER BY name COLLATE "C";

SET outbox.max_keys_per_message = 0;
SET outbox.max_keys_per_message = 10001;
SET outbox.max_pending_keys = 15;
SET outbox.max_pending_keys = 1000001;
\set VERBOSITY sqlstate
SET outbox.max_payload = '1023B';
SET outbox.max_payload = '17MB';
\set VERBOSITY default
SET outbox.queue_type = 'stream';
SET outbox.queue = '';
SELECT set_config('outbox.queue', repeat('q', 251), false);
SELECT set_config('outbox.invalidation_exchange', repeat('q', 256), false);
SET outbox.no_such_setting = 1;

SET outbox.amqp_url = 'http://user:secret@host/';
SET outbox.amqp_url = 'amqp://user:secret@host:99999/';
SET outbox.amqp_url = '';
SET outbox.amqp_url = 'amqp://user:secret@host/vhost,amqps://user@other:5671/?heartbeat=20';
SELECT current_database() AS db \gset
ALTER DATABASE :"db" SET outbox.amqp_url = 'amqp://user:secret@host/vhost';
ALTER ROLE CURRENT_USER SET outbox.amqp_url = 'amqp://user:secret@host/vhost';
ALTER ROLE CURRENT_USER IN DATABASE :"db" SET outbox.amqp_url = 'amqp://guest:guest@host/vhost';
ALTER ROLE CURRENT_USER IN DATABASE :"db" RESET outbox.amqp_url;
