-- What the projections know and how far they are. Embedded, these tables are used in a file of their
-- own, so that writing them never holds up an experiment.
create table leases (
    name text not null primary key,
    owner text not null,
    epoch bigint not null,
    expires_at_ms bigint not null
);
create table projection_state (
    projection text not null,
    version bigint not null,
    partition bigint not null,
    key blob not null,
    state blob not null,
    primary key (projection, version, partition, key)
) without rowid;
create table projection_offset (
    projection text not null,
    version bigint not null,
    partition bigint not null,
    epoch bigint not null,
    sequence bigint not null,
    primary key (projection, version, partition)
) without rowid;
