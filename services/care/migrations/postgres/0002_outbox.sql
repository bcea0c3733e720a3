-- What the log must hear, written with the change that it is about and deleted once the log has it. Never
-- read by a cursor: a transaction that commits late may have a lower id than one that was sent.
create table outbox (
    outbox_id bigint generated always as identity primary key,
    subject_id bytea not null,
    -- The encoded event without its personal part.
    event bytea not null,
    -- The personal part, encrypted with the subject's key, bound to subject and event; null if none.
    sealed bytea
);
