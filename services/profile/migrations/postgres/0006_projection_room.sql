-- States are updated all the time: with room in its page a row's new version stays beside the old one, and
-- no index is touched.
alter table projection_state set (fillfactor = 70);
