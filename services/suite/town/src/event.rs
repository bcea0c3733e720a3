//! What happens in the town, as a shop's back end would report it. Names follow GA4.

use rapport_types::{ConsentState, Micros, Purpose, UnixMillis};

use crate::messages::{Emotion, Intent};
use crate::shopper::{AgeBand, Language};

/// How a visit came about, and where. The driver maps it to `rapport.type.v1.Channel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Typed the address: the web site.
    Web,
    /// Opened the app.
    App,
    /// A WeChat account or mini program.
    Wechat,
    /// Weibo.
    Weibo,
    /// Douyin.
    Douyin,
    /// Xiaohongshu.
    Xiaohongshu,
    /// A mail.
    Email,
    /// Paid search.
    Search,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 8] = [
        Self::Web,
        Self::App,
        Self::Wechat,
        Self::Weibo,
        Self::Douyin,
        Self::Xiaohongshu,
        Self::Email,
        Self::Search,
    ];

    /// Returns the lower-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::App => "app",
            Self::Wechat => "wechat",
            Self::Weibo => "weibo",
            Self::Douyin => "douyin",
            Self::Xiaohongshu => "xiaohongshu",
            Self::Email => "email",
            Self::Search => "search",
        }
    }

    /// Returns the true factor on the chance that a visit through this channel ends in an order.
    ///
    /// Search brings people who want something; the social feeds bring people who pass the time.
    #[must_use]
    pub const fn conversion_factor(self) -> f64 {
        match self {
            Self::Web | Self::App => 1.0,
            Self::Wechat => 1.1,
            Self::Weibo => 0.7,
            Self::Douyin => 0.8,
            Self::Xiaohongshu => 0.9,
            Self::Email => 1.2,
            Self::Search => 1.3,
        }
    }
}

/// What led to an event, so that the driver can attach the decision that it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A recommended item of this visit.
    Recommendation,
    /// The ad of this visit.
    Ad,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The item.
    pub item_id: String,
    /// Its category's id.
    pub category: &'static str,
    /// How many, at least 1.
    pub quantity: i64,
    /// The price of one in CNY.
    pub unit_price: Micros,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TownEvent {
    /// Unique in the town, at most 40 ASCII characters, the same for the same seed.
    pub event_id: String,
    /// When it happened.
    pub at: UnixMillis,
    /// Who did it, a place in [`crate::Town::shoppers`]. Truth: no service may see it.
    pub shopper: u32,
    /// The device it happened on: the identifier that the shop knows.
    pub device: String,
    /// The class of the device: `phone`, `desktop` or `tablet`.
    pub device_class: &'static str,
    /// The log-in, if the shopper is signed in on the device.
    pub login: Option<String>,
    /// Where it happened.
    pub channel: Channel,
    /// What led to it, if the suite did.
    pub cause: Option<Cause>,
    /// What happened.
    pub body: Body,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The shopper answered a question of consent, or changed the answer.
    Consent {
        /// The purpose.
        purpose: Purpose,
        /// The answer.
        state: ConsentState,
    },
    /// The shopper opened an account. Everything here is personal.
    SignUp {
        /// The log-in name.
        login: String,
        /// The name.
        name: String,
        /// The phone number.
        phone: String,
        /// The e-mail address.
        email: String,
        /// The language.
        language: Language,
        /// Region code, such as `CN-31`.
        region: &'static str,
        /// Of age or not.
        age_band: AgeBand,
    },
    /// The shopper signed in: the device and the log-in are one person.
    SignIn {
        /// The log-in name.
        login: String,
    },
    /// A list was shown.
    ViewItemList {
        /// Such as `home`.
        list: &'static str,
        /// Its items in order.
        item_ids: Vec<String>,
    },
    /// An item was chosen from the list.
    SelectItem {
        /// The item.
        item_id: String,
        /// Its category's id.
        category: &'static str,
        /// The list.
        list: &'static str,
        /// The place in it, from 1.
        position: u32,
    },
    /// An item was looked at.
    ViewItem {
        /// The item.
        item_id: String,
        /// Its category's id.
        category: &'static str,
        /// For how long, in milliseconds.
        dwell_ms: i64,
    },
    /// The shopper searched. The query is personal text.
    Search {
        /// The words.
        query: String,
        /// Results shown.
        results: u32,
    },
    /// An item went into the cart.
    AddToCart(Line),
    /// An item was kept for later.
    AddToWishlist {
        /// The item.
        item_id: String,
        /// Its category's id.
        category: &'static str,
    },
    /// An item was shared.
    Share {
        /// The item.
        item_id: String,
        /// Where to.
        to: Channel,
    },
    /// An order.
    Purchase {
        /// The order.
        order_id: String,
        /// Its lines, at least one; CNY.
        lines: Vec<Line>,
    },
    /// An order came back.
    Refund {
        /// The order.
        order_id: String,
        /// What came back.
        lines: Vec<Line>,
    },
    /// A review. The text is personal.
    Review {
        /// The item.
        item_id: String,
        /// Stars, 1 to 5.
        rating: u32,
        /// The text.
        text: String,
    },
    /// A message to customer service. The text is personal; intent and emotion are the truth.
    Message {
        /// The message.
        message_id: String,
        /// The text.
        text: String,
        /// Its language.
        language: Language,
        /// What it is truly about.
        intent: Intent,
        /// What the writer truly feels.
        emotion: Emotion,
    },
    /// The ad of the visit was seen.
    AdImpression {
        /// The line item.
        line_item_id: String,
    },
    /// The ad of the visit was clicked.
    AdClick {
        /// The line item.
        line_item_id: String,
    },
}

impl Body {
    /// Returns the event's type, as GA4 and the log name it.
    #[must_use]
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::Consent { .. } => "consent",
            Self::SignUp { .. } => "sign_up",
            Self::SignIn { .. } => "login",
            Self::ViewItemList { .. } => "view_item_list",
            Self::SelectItem { .. } => "select_item",
            Self::ViewItem { .. } => "view_item",
            Self::Search { .. } => "search",
            Self::AddToCart(_) => "add_to_cart",
            Self::AddToWishlist { .. } => "add_to_wishlist",
            Self::Share { .. } => "share",
            Self::Purchase { .. } => "purchase",
            Self::Refund { .. } => "refund",
            Self::Review { .. } => "review",
            Self::Message { .. } => "message",
            Self::AdImpression { .. } => "ad_impression",
            Self::AdClick { .. } => "ad_click",
        }
    }
}
