//! The pure core of `profile`: the identity graph, identifiers, consent registers, the state kept
//! per subject with its view, models of customer value, erasure receipts and the audit chain.
//!
//! No I/O, no clock, no randomness: the service stores what is computed here and passes the time.
//! Everything kept per subject is an integer under a commutative, associative merge, so a person's
//! view is the same bytes whatever order its members are folded in.

mod audit;
pub mod clv;
mod consent;
mod decay;
mod erasure;
mod event;
mod graph;
mod identifier;
mod lifecycle;
mod rfm;
mod state;
mod view;

pub use audit::{AuditRecord, ChainError, ChainHead, verify_chain};
pub use consent::{ConsentRegisters, ConsentSource, Register, admitted, folded, write_members};
pub use erasure::{ERASURE_DERIVED_DAYS, ErasureReceipt};
pub use event::{Action, AgeBand, Behaviour, ITEMS_MAX, ItemRef, ProfileEvent, TagKind};
pub use graph::{
    Change, Graph, GraphError, LINKS_PER_PERSON_MAX, Link, LinkId, Member, PERSON_MEMBERS_MAX,
    Person, Unlink,
};
pub use identifier::{
    IDENTIFIER_CHARS_MAX, Identifier, IdentifierError, IdentifierKind, PhoneRegion,
    parse_identifier,
};
pub use lifecycle::{Lifecycle, LifecycleStage, lifecycle};
pub use rfm::{Rfm, RfmScore, RfmTable, ValueSegment};
pub use state::{
    EVIDENCE_MAX, PURCHASE_DAYS_MAX, ProfileState, PurchaseTotals, StateError, TAGS_PER_KIND_MAX,
};
pub use view::{EmotionView, ProfileView, TagView, UsageView, ViewOptions};
