-- On SQLite the projection has a file of its own (migrations/sqlite-projection), so that its writes
-- never hold up the log's one writer.
select 1;
