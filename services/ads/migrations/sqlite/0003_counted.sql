-- Frequency counters are rebuilt from the decisions that were counted, by subject.
create index decision_by_counted on decision (counted_on, decided_at_ms, decision_id)
    where counted_on is not null;
