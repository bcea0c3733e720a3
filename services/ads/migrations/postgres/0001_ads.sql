-- What may be delivered. `definition` is the wire message: the contract is the schema.
create table campaign (
    campaign_id text primary key,
    definition bytea not null
);

create table line_item (
    line_item_id text primary key,
    campaign_id text not null references campaign (campaign_id),
    definition bytea not null
);
create index line_item_by_campaign on line_item (campaign_id, line_item_id);

-- Raised by every write above, so that replicas notice.
create table catalogue (
    name text primary key,
    version bigint not null
);
insert into catalogue (name, version) values ('campaigns', 0);

-- Double entry. Balances sum to zero; only `funding` may be below it.
create table account (
    account text primary key,
    line_item_id text not null,
    balance_micros bigint not null,
    check (balance_micros >= 0 or account = 'funding')
);
create index account_by_line_item on account (line_item_id, account);
insert into account (account, line_item_id, balance_micros) values ('funding', '', 0);

-- One row per line item: its lock, and the highest epoch ever granted.
create table ledger (
    line_item_id text primary key references line_item (line_item_id),
    version bigint not null,
    last_epoch bigint not null
);

-- Append only. The entries of one version of a ledger are one transaction and sum to zero.
create table entry (
    line_item_id text not null references ledger (line_item_id),
    version bigint not null,
    position bigint not null,
    account text not null,
    amount_micros bigint not null,
    reason text not null,
    decision_id bytea,
    created_at_ms bigint not null,
    primary key (line_item_id, version, position)
);

-- Open leases; what they hold is on their account.
create table budget_lease (
    line_item_id text not null references ledger (line_item_id),
    replica text not null,
    epoch bigint not null,
    expires_at_ms bigint not null,
    primary key (line_item_id, replica)
);
create index budget_lease_by_end on budget_lease (expires_at_ms);

-- Decisions, written before their answer. Subjects only under the `advertise` consent; rows go after
-- 35 days.
create table decision (
    decision_id bytea primary key,
    caller text not null,
    request_id text not null,
    body_hash bytea not null,
    response bytea not null,
    decided_at_ms bigint not null,
    placement text not null,
    subject_id bytea,
    counted_on bytea,
    line_item_id text,
    campaign_id text,
    billed_on bigint not null,
    charge_micros bigint not null,
    replica text not null,
    epoch bigint not null,
    impression_at_ms bigint,
    click_at_ms bigint,
    cost_micros bigint not null,
    unique (caller, request_id)
);
create index decision_by_age on decision (decided_at_ms, decision_id);

-- Impressions and clicks as recorded: what predicted click rates are made from.
create table ctr (
    line_item_id text not null,
    placement text not null,
    impressions bigint not null,
    clicks bigint not null,
    primary key (line_item_id, placement)
);
