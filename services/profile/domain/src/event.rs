//! What the profile learns from, independent of wire types: the service maps log records to this.

use rapport_types::{Micros, UnixMillis};
use serde::{Deserialize, Serialize};

/// Items of one event that are looked at; the rest is ignored. The wire has the same maximum.
pub const ITEMS_MAX: usize = 100;

/// One event of one subject, borrowed from the decoded record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProfileEvent<'a> {
    /// The caller's event id, kept as evidence.
    pub event_id: &'a str,
    /// The type as the log names it, such as `view_item`.
    pub event_type: &'a str,
    /// When it happened, as the log clamped it.
    pub occurred_at: UnixMillis,
    /// The number of `rapport.type.v1.Channel`; 0 is unknown.
    pub channel: u8,
    /// The class of device, such as `phone`; empty is unknown.
    pub device: &'a str,
    /// What happened.
    pub behaviour: Behaviour<'a>,
}

/// What the subject did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Behaviour<'a> {
    /// The subject was there: counts, channel, device and hours only.
    Seen,
    /// The subject dealt with items.
    Items(Action, &'a [ItemRef<'a>]),
    /// An order, or some lines of one.
    Purchase {
        /// The order: lines that share it are one order.
        order_id: &'a str,
        /// ISO 4217 code; a purchase with a malformed code counts without its money.
        currency: &'a str,
        /// The money paid, `>= 0`; a negative amount counts as 0.
        amount: Micros,
        /// What was bought.
        items: &'a [ItemRef<'a>],
    },
    /// Money went back.
    Refund {
        /// ISO 4217 code.
        currency: &'a str,
        /// The money returned, `>= 0`; a negative amount counts as 0.
        amount: Micros,
        /// What came back.
        items: &'a [ItemRef<'a>],
    },
    /// The subject searched; the words are already normalised and split.
    Search(&'a [&'a str]),
    /// An emotion was recognised. Only sent under the `emotion` consent.
    Emotion {
        /// The emotion, such as `anger`.
        label: &'a str,
        /// How pleasant, clamped to `[-1, 1]`.
        valence: f64,
        /// How excited, clamped to `[0, 1]`.
        arousal: f64,
    },
    /// The subject said something about itself.
    Attributes {
        /// BCP 47 language; empty is unsaid.
        language: &'a str,
        /// Region code, such as `CN-31`; empty is unsaid.
        region: &'a str,
        /// Of age or not.
        age_band: AgeBand,
    },
    /// The subject added a tag to its own profile, or took one away for good.
    StateTag {
        /// The kind of tag.
        kind: TagKind,
        /// Its name.
        name: &'a str,
        /// True adds it; false hides it and stops learning it until the subject adds it again.
        keep: bool,
    },
}

/// One item as an event names it. Empty text is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ItemRef<'a> {
    /// The category.
    pub category: &'a str,
    /// The brand.
    pub brand: &'a str,
    /// Normalised keywords.
    pub keywords: &'a [&'a str],
}

/// What was done with an item, in rising order of interest; a dislike and a refund count against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Said "not for me".
    Dislike,
    /// Chose it from a list.
    Select,
    /// Looked at it.
    View,
    /// Wrote about it.
    Review,
    /// Kept it for later.
    Wishlist,
    /// Passed it on.
    Share,
    /// Put it in the cart.
    Cart,
}

impl Action {
    /// Returns what the action adds to each tag of the item. A purchase adds 5, a refund takes 5.
    ///
    /// The ladder view 1 < wish 3 < cart 4 < purchase 5 orders intent as the funnel does; only the
    /// ratios matter, as tags are compared with each other.
    #[must_use]
    pub const fn weight(self) -> f64 {
        match self {
            Self::Dislike => -4.0,
            Self::Select | Self::View => 1.0,
            Self::Review => 2.0,
            Self::Wishlist | Self::Share => 3.0,
            Self::Cart => 4.0,
        }
    }
}

/// The kinds of tag. The numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TagKind {
    /// A category of the catalogue. Half-life 60 days.
    Category,
    /// A brand. Half-life 60 days.
    Brand,
    /// A keyword of items or searches. Half-life 14 days: what is searched for is soon bought or dropped.
    Keyword,
}

impl TagKind {
    /// Every kind, in stored order.
    pub const ALL: [Self; 3] = [Self::Category, Self::Brand, Self::Keyword];

    /// Returns the time in which a tag's weight halves, in milliseconds.
    #[must_use]
    pub const fn half_life_ms(self) -> i64 {
        const DAY_MS: i64 = 86_400_000;
        match self {
            Self::Category | Self::Brand => 60 * DAY_MS,
            Self::Keyword => 14 * DAY_MS,
        }
    }

    /// Returns the lower-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Category => "category",
            Self::Brand => "brand",
            Self::Keyword => "keyword",
        }
    }
}

/// How old a subject says it is. Unknown is treated as a minor wherever it matters.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum AgeBand {
    /// Not said.
    #[default]
    Unknown,
    /// Of age.
    Adult,
    /// Under age. The greatest, so that a tie in time falls to the protected side.
    Minor,
}
