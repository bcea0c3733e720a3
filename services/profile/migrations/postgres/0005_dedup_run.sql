-- Postgres writes dedup entries into `log_dedup` at once: its replicas share nothing else. The table is
-- here so that one text reads both schemas; it stays empty.
create table log_dedup_run (
    run bigint generated always as identity primary key,
    received_day bigint,
    rows bytea not null
);
