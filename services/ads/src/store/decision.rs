//! Decisions, written before their answer: what makes a request idempotent and an event billable.

use ads_domain::BilledOn;
use rapport_store::{Db, StoreError, Tx, on_db, on_tx, on_writer};
use rapport_types::{DecisionId, Micros, SubjectId, UnixMillis};

/// Most rows that one [`sweep`] deletes.
pub const SWEEP_ROWS_MAX: u32 = 5_000;
/// How long decisions are kept: longer than the longest frequency window, and than late clicks.
pub const KEEP_MS: i64 = 35 * 24 * 60 * 60 * 1_000;

const INSERT: &str = "insert into decision (decision_id, caller, request_id, body_hash, response,
        decided_at_ms, placement, subject_id, counted_on, line_item_id, campaign_id, billed_on,
        charge_micros, replica, epoch, cost_micros)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0)
    on conflict (caller, request_id) do nothing";
const EARLIER: &str = "select body_hash, response from decision
    where caller = $1 and request_id = $2";
const FIND: &str = "select placement, subject_id, line_item_id, campaign_id, billed_on,
        charge_micros, replica, epoch, impression_at_ms, click_at_ms, cost_micros
    from decision where decision_id = $1 and line_item_id is not null";
const SEEN: &str = "update decision set impression_at_ms = $2
    where decision_id = $1 and line_item_id is not null and impression_at_ms is null";
const CLICKED: &str = "update decision set click_at_ms = $2
    where decision_id = $1 and line_item_id is not null and click_at_ms is null";
const COST: &str = "update decision set cost_micros = $2 where decision_id = $1";
const SWEEP: &str = "delete from decision where decision_id in (select decision_id from decision
    where decided_at_ms < $1 order by decided_at_ms limit $2)";

/// The money and the ad of a decision that showed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The line item.
    pub line_item_id: String,
    /// The campaign.
    pub campaign_id: String,
    /// Which event is billed.
    pub billed_on: BilledOn,
    /// What that event costs.
    pub charge: Micros,
    /// Whose lease holds the money.
    pub replica: String,
    /// Under which epoch.
    pub epoch: u64,
    /// On whose frequency counters it was counted; `None` if on nobody's.
    pub counted_on: Option<SubjectId>,
}

/// A decision to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDecision {
    /// The id.
    pub id: DecisionId,
    /// The authenticated caller.
    pub caller: String,
    /// Its idempotency key.
    pub request_id: String,
    /// The fingerprint of its request.
    pub body_hash: Vec<u8>,
    /// The encoded answer.
    pub response: Vec<u8>,
    /// When it was made.
    pub decided_at: UnixMillis,
    /// For which placement.
    pub placement: String,
    /// For whom; `None` without the `advertise` consent.
    pub subject: Option<SubjectId>,
    /// The ad, `None` for no fill.
    pub shown: Option<Shown>,
}

/// A stored decision that showed an ad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDecision {
    /// For which placement.
    pub placement: String,
    /// For whom.
    pub subject: Option<SubjectId>,
    /// The ad. On whose counters it counted is not read.
    pub shown: Shown,
    /// When it was seen.
    pub seen_at: Option<UnixMillis>,
    /// When it was clicked.
    pub clicked_at: Option<UnixMillis>,
    /// What was billed so far.
    pub cost: Micros,
}

impl StoredDecision {
    /// Returns when an event happened, `None` if it did not.
    #[must_use]
    pub fn happened_at(&self, event: Event) -> Option<UnixMillis> {
        match event {
            Event::Impression => self.seen_at,
            Event::Click => self.clicked_at,
        }
    }

    /// Notes that an event happened.
    pub fn set_happened(&mut self, event: Event, at: UnixMillis) {
        match event {
            Event::Impression => self.seen_at = Some(at),
            Event::Click => self.clicked_at = Some(at),
        }
    }
}

/// What happened to an ad, as a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It was seen.
    Impression,
    /// It was clicked.
    Click,
}

/// Inserts a decision; `false` if the caller's request id was used before.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(tx: &mut Tx, new: &NewDecision) -> Result<bool, StoreError> {
    let shown = new.shown.as_ref();
    let counted_on = shown
        .and_then(|shown| shown.counted_on)
        .map(SubjectId::to_vec);
    let inserted = on_tx!(tx, |conn| {
        let query = sqlx::query(INSERT).bind(new.id.to_vec()).bind(&new.caller);
        let query = query.bind(&new.request_id).bind(&new.body_hash);
        let query = query.bind(&new.response).bind(new.decided_at.0);
        let query = query
            .bind(&new.placement)
            .bind(new.subject.map(SubjectId::to_vec));
        let query = query.bind(counted_on);
        let query = query.bind(shown.map(|shown| shown.line_item_id.as_str()));
        let query = query.bind(shown.map(|shown| shown.campaign_id.as_str()));
        let query = query.bind(shown.map_or(0, |shown| to_number(shown.billed_on)));
        let query = query.bind(shown.map_or(0, |shown| shown.charge.0));
        let query = query.bind(shown.map_or("", |shown| shown.replica.as_str()));
        let query = query.bind(shown.map_or(0, |shown| shown.epoch as i64));
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(inserted == 1)
}

/// Returns the fingerprint and the answer of an earlier request.
///
/// # Errors
/// [`StoreError`].
pub async fn earlier(
    tx: &mut Tx,
    caller: &str,
    request_id: &str,
) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
    Ok(on_tx!(tx, |conn| sqlx::query_as(EARLIER)
        .bind(caller)
        .bind(request_id)
        .fetch_one(conn)
        .await)?)
}

/// Notes that an event happened; `false` if it had before, or there is no such decision with an ad.
/// Holds the decision until the transaction ends.
///
/// # Errors
/// [`StoreError`].
pub async fn happened(
    tx: &mut Tx,
    id: DecisionId,
    event: Event,
    at: UnixMillis,
) -> Result<bool, StoreError> {
    let text = match event {
        Event::Impression => SEEN,
        Event::Click => CLICKED,
    };
    let changed = on_tx!(tx, |conn| sqlx::query(text)
        .bind(id.to_vec())
        .bind(at.0)
        .execute(conn)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(changed == 1)
}

/// A row of [`find`].
#[derive(Debug, sqlx::FromRow)]
struct ShownRow {
    placement: String,
    subject_id: Option<Vec<u8>>,
    line_item_id: String,
    campaign_id: String,
    billed_on: i64,
    charge_micros: i64,
    replica: String,
    epoch: i64,
    impression_at_ms: Option<i64>,
    click_at_ms: Option<i64>,
    cost_micros: i64,
}

/// Returns a decision that showed an ad.
///
/// # Errors
/// [`StoreError`].
pub async fn find(db: &Db, id: DecisionId) -> Result<Option<StoredDecision>, StoreError> {
    let row: Option<ShownRow> = on_db!(db, |pool| sqlx::query_as(FIND)
        .bind(id.to_vec())
        .fetch_optional(pool)
        .await)?;
    Ok(row.map(|row| StoredDecision {
        placement: row.placement,
        subject: row.subject_id.and_then(|id| SubjectId::parse(&id).ok()),
        shown: Shown {
            line_item_id: row.line_item_id,
            campaign_id: row.campaign_id,
            billed_on: from_number(row.billed_on),
            charge: Micros(row.charge_micros),
            replica: row.replica,
            epoch: row.epoch as u64,
            counted_on: None,
        },
        seen_at: row.impression_at_ms.map(UnixMillis),
        clicked_at: row.click_at_ms.map(UnixMillis),
        cost: Micros(row.cost_micros),
    }))
}

/// Writes what a decision cost.
///
/// # Errors
/// [`StoreError`].
pub async fn set_cost(tx: &mut Tx, id: DecisionId, cost: Micros) -> Result<(), StoreError> {
    on_tx!(tx, |conn| sqlx::query(COST)
        .bind(id.to_vec())
        .bind(cost.0)
        .execute(conn)
        .await
        .map(|_| ()))?;
    Ok(())
}

/// Deletes up to [`SWEEP_ROWS_MAX`] of the oldest decisions above [`KEEP_MS`] of age and returns how
/// many; fewer than the maximum means that none are left.
///
/// # Errors
/// [`StoreError`].
pub async fn sweep(db: &Db, now: UnixMillis) -> Result<u64, StoreError> {
    Ok(on_writer!(db, |pool| sqlx::query(SWEEP)
        .bind(now.plus(-KEEP_MS).0)
        .bind(i64::from(SWEEP_ROWS_MAX))
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
}

fn to_number(billed_on: BilledOn) -> i64 {
    match billed_on {
        BilledOn::Impression => 1,
        BilledOn::Click => 2,
        BilledOn::Conversion => 3,
    }
}

fn from_number(number: i64) -> BilledOn {
    match number {
        1 => BilledOn::Impression,
        2 => BilledOn::Click,
        _ => BilledOn::Conversion,
    }
}
