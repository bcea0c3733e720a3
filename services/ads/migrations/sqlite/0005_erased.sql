-- An erased subject is taken out of the decisions that were made for it.
create index decision_by_subject on decision (subject_id) where subject_id is not null;

-- What is known of people is built anew, by version 2: nobody would erase anybody from the old states.
delete from projection_state where projection = 'audience' and version < 2;
delete from projection_offset where projection = 'audience' and version < 2;
