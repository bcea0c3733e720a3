-- The event log. Joined with no other table, so that it can move to an engine of its own.
create table log_partition (
    partition integer primary key,
    last_sequence bigint not null,
    last_received_at_ms bigint not null
);
with recursive p(n) as (select 0 union all select n + 1 from p where n < 64)
insert into log_partition (partition, last_sequence, last_received_at_ms) select n, 0, 0 from p;

-- One row per batch per partition: `events` is the encoded `EventBatch.events`.
create table log_batch (
    partition integer not null,
    first_sequence bigint not null,
    last_sequence bigint not null,
    events blob not null,
    primary key (partition, first_sequence)
);

-- `dedup_key` is a hash of source and event id; `entry` is fingerprint, partition and sequence.
-- `received_day` is null for backfill, which is remembered as long as the data live.
create table log_dedup (
    dedup_key blob primary key,
    entry blob not null,
    received_day bigint
) without rowid;
