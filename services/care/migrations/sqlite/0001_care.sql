-- Cases, their sealed messages, agents, and who has which case.
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

create table agents (
    agent_id text not null primary key,
    name text not null,
    -- 1 online, 2 away, 3 offline.
    presence integer not null,
    capacity integer not null,
    load integer not null,
    -- Languages and intents between spaces, such as ' en zh '; no intents means all of them.
    languages text not null,
    skills text not null,
    idle_since_ms bigint not null,
    constraint agents_load check (load >= 0)
) without rowid;

create table cases (
    case_id blob not null primary key,
    subject_id blob not null,
    -- 1 queued, 2 assigned, 3 pending, 4 resolved, 5 closed.
    state integer not null,
    channel integer not null,
    intent text not null,
    -- Empty if it is not known.
    language text not null,
    base_points bigint not null,
    -- What orders the queue; follows from base_points and waiting_since_ms.
    rank bigint not null,
    waiting_since_ms bigint not null,
    agent_id text,
    epoch bigint not null,
    opened_at_ms bigint not null,
    response_due_ms bigint not null,
    first_response_ms bigint not null,
    queue_reason text not null,
    messages integer not null,
    -- Raised with each change: who wrote from an older one has lost.
    version bigint not null
) without rowid;
create index cases_queue on cases (rank desc, waiting_since_ms, case_id) where state = 1;
create index cases_of_agent on cases (agent_id) where state in (2, 3);

-- One row per time that an agent had a case; the index is the last word on "one agent only".
create table assignments (
    case_id blob not null,
    epoch bigint not null,
    agent_id text not null,
    assigned_at_ms bigint not null,
    ended_at_ms bigint,
    primary key (case_id, epoch)
) without rowid;
create unique index assignments_active on assignments (case_id) where ended_at_ms is null;

create table messages (
    message_id blob not null primary key,
    case_id blob not null,
    number integer not null,
    -- 1 customer, 2 agent.
    author integer not null,
    -- The text, encrypted with the subject's key, bound to subject and message.
    sealed blob not null,
    written_at_ms bigint not null
) without rowid;
create unique index messages_of_case on messages (case_id, number);
