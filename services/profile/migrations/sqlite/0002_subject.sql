-- Subjects. The data key is wrapped by a key outside the database; null once erased.
create table subject (
    subject_id blob primary key,
    created_at_ms bigint not null,
    wrapped_key blob,
    erased_at_ms bigint
) without rowid;

-- The blind index: a keyed hash of an identifier. Erasure deletes its rows.
create table identifier (
    blind_index blob primary key,
    subject_id blob not null references subject (subject_id)
) without rowid;
create index identifier_by_subject on identifier (subject_id);

-- The identity graph: links are added and cancelled, never changed.
create table link (
    link_id blob primary key,
    left_id blob not null references subject (subject_id),
    right_id blob not null references subject (subject_id),
    evidence text not null,
    created_at_ms bigint not null,
    cancelled_at_ms bigint
) without rowid;

create index link_by_left on link (left_id);
create index link_by_right on link (right_id);

-- Which person a linked subject belongs to, by the person's anchor. Single subjects have no row.
create table member (
    subject_id blob primary key references subject (subject_id),
    anchor blob not null
) without rowid;
create index member_by_anchor on member (anchor);

create table consent (
    subject_id blob not null references subject (subject_id),
    purpose integer not null,
    state integer not null,
    evidence text not null,
    changed_at_ms bigint not null,
    primary key (subject_id, purpose)
) without rowid;

create table erasure_receipt (
    receipt_id blob primary key,
    subjects bigint not null,
    erased_at_ms bigint not null,
    signature blob not null
) without rowid;

-- How far the relay has copied the control partition to the subjects' partitions.
create table relay (
    name text primary key,
    sequence bigint not null
) without rowid;
insert into relay (name, sequence) values ('control', 0);

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
