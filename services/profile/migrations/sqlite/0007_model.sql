-- The trained models of customer value: a handful of numbers each, with a checksum of their own.
create table model (
    version bigint not null primary key,
    trained_at_ms bigint not null,
    as_of_ms bigint not null,
    persons bigint not null,
    graph_version bigint not null,
    currency text not null,
    model blob not null
) without rowid;
