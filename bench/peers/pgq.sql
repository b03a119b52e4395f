-- pgq.sql
--    PgQ, as its documentation would have it, tuned for short delays: its trigger in C (a row for each
--    changed row, URL-encoded), and a tick each 100 ms or 500 events in place of 3 s. The consumer makes
--    the keys. Expects the table bench.pgq.

CREATE EXTENSION pgq;

CREATE FUNCTION bench.new_queue() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pgq.get_queue_info() WHERE queue_name = 'bench') THEN
        PERFORM pgq.drop_queue('bench', true);
    END IF;
    PERFORM pgq.create_queue('bench');
    PERFORM pgq.set_queue_config('bench', 'ticker_max_lag', '100 ms');
    PERFORM pgq.set_queue_config('bench', 'ticker_idle_period', '1 s');
    PERFORM pgq.set_queue_config('bench', 'ticker_max_count', '500');
    PERFORM pgq.register_consumer('bench', 'relay');
END
$$;
SELECT bench.new_queue();

CREATE TRIGGER pgq_record AFTER INSERT OR UPDATE OR DELETE ON bench.pgq
    FOR EACH ROW EXECUTE FUNCTION pgq.logutriga('bench');
