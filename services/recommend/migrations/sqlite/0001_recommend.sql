-- The catalogue. `version` is the catalogue's version of the write that made the row: readers ask for
-- what changed since theirs.
create table item (
    item_id text not null primary key,
    title text not null,
    category text not null,
    brand text not null,
    price_micros bigint,
    currency text not null,
    available boolean not null,
    tags text not null,
    version bigint not null
) without rowid;
create index item_by_version on item (version, item_id);

-- One row, locked by every write: versions commit in their order.
create table catalogue (
    name text not null primary key,
    version bigint not null
) without rowid;
insert into catalogue (name, version) values ('items', 0);

-- The trained models; the models themselves are files.
create table model (
    version bigint not null primary key,
    trained_at_ms bigint not null,
    persons bigint not null,
    items bigint not null,
    graph_version bigint not null,
    size_bytes bigint not null
) without rowid;

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

create table leases (
    name text not null primary key,
    owner text not null,
    epoch bigint not null,
    expires_at_ms bigint not null
);

create table idempotency (
    caller text not null,
    method text not null,
    request_id text not null,
    body_hash blob not null,
    response blob,
    created_at_ms bigint not null,
    primary key (caller, method, request_id)
) without rowid;
create index idempotency_by_age on idempotency (created_at_ms);
