-- Tables that libs/store and libs/flow define: request ids, leases, projections.
create table idempotency (
    caller text not null,
    method text not null,
    request_id text not null,
    body_hash bytea not null,
    response bytea,
    created_at_ms bigint not null,
    primary key (caller, method, request_id)
);
create index idempotency_by_age on idempotency (created_at_ms);

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
    key bytea not null,
    state bytea not null,
    primary key (projection, version, partition, key)
);
create table projection_offset (
    projection text not null,
    version bigint not null,
    partition bigint not null,
    epoch bigint not null,
    sequence bigint not null,
    primary key (projection, version, partition)
);
