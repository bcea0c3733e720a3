-- Experiments. `variants` is a JSON array of key and share, the control first; `state` is the
-- contract's number: 1 draft, 2 running, 3 stopped. Times are 0 before they happened.
create table experiment (
    key text not null primary key,
    hypothesis text not null,
    variants text not null,
    state integer not null,
    started_at_ms bigint not null,
    stopped_at_ms bigint not null
) without rowid;

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
