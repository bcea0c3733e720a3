-- Dedup entries of recent commits, key and entry one after the other: they move into `log_dedup` sorted and
-- many at a time. `autoincrement`, because a number that is used twice could hide a run from its reader.
create table log_dedup_run (
    run integer primary key autoincrement,
    received_day bigint,
    rows blob not null
);
