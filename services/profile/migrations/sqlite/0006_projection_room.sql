-- SQLite updates rows in place.
select 1;
