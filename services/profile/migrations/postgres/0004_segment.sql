-- Old runs of the log lie in files. A row here makes its file the truth: rows of `log_batch` that it
-- covers are leftovers. `digest` is the SHA-256 of the file's header, which holds those of its blocks;
-- events of subjects erased up to `erased_to_ms` are out of it.
create table log_segment (
    partition integer not null,
    first_sequence bigint not null,
    last_sequence bigint not null,
    name text not null,
    digest bytea not null,
    bytes bigint not null,
    last_received_at_ms bigint not null,
    erased_to_ms bigint not null,
    primary key (partition, first_sequence)
);

-- The log forgot everything up to and including this sequence. No row: nothing.
create table log_low_water (
    partition integer primary key,
    sequence bigint not null
);

-- Names the log in the object store, so that two logs never touch each other's files. Also the row that
-- readers and retention lock before the one looks at the other.
create table log_identity (
    one integer primary key check (one = 1),
    log_id text not null
);

-- Readers that start from snapshots of their own, and how far these were verified.
create table log_reader (
    reader text primary key,
    registered_at_ms bigint not null
);
create table log_reader_position (
    reader text not null references log_reader (reader) on delete cascade,
    partition integer not null,
    sequence bigint not null,
    primary key (reader, partition)
);

create index subject_by_erasure on subject (erased_at_ms) where erased_at_ms is not null;
