//! The pure core of `ads`: campaigns, targeting, auction, frequency, pacing and the ledger's rules.
//!
//! No I/O, no clock, no async: the service hands in state and time and stores what comes back.

mod auction;
mod campaign;
mod creative;
mod ctr;
mod draw;
mod frequency;
mod ledger;
mod pacing;
mod state;
mod targeting;

pub use auction::{
    BilledOn, CANDIDATES_MAX, Considered, Decision, Entry, LINE_ITEMS_MAX, Outcome, Price, Request,
    Standing, Winner, decide, ecpm,
};
pub use campaign::{
    BID_MAX, BUDGET_MAX, Bid, BidType, CAPS_MAX, CPM_BID_MIN, CREATIVES_MAX, Campaign,
    CampaignFields, ID_CHARS_MAX, LineItem, LineItemFields, NAME_CHARS_MAX, Placement, Violation,
    is_id,
};
pub use creative::{Creative, HEADLINE_CHARS_MAX, LANDING_CHARS_MAX};
pub use ctr::{BetaPrior, CtrCounts, CtrTable};
pub use frequency::{
    Cap, CapKey, CapReached, FrequencyCounters, HOURS_KEPT, KEYS_MAX, Reservation,
    WINDOW_HOURS_MAX, Window,
};
pub use ledger::{
    Account, Balances, Grant, LEASES_MAX, Lease, LedgerError, LineLedger, Posting, ReplicaLease,
    Transaction,
};
pub use pacing::{Flight, Pacing};
pub use state::{DeliveryState, Review, TransitionError};
pub use targeting::{
    AgeBand, Audience, Context, Device, HourSet, Miss, MissSet, Person, TARGETING_TERMS_MAX,
    TERM_CHARS_MAX, Targeting,
};
