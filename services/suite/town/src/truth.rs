//! What truly is and what truly happened, to compare with what the suite measured.

use crate::event::Channel;

/// One arm of the town's experiment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ArmTruth {
    /// Visits in the arm.
    pub sessions: u64,
    /// Visits that ended in an order.
    pub orders: u64,
    /// The sum of the true chances of an order over those visits.
    pub expected_orders: f64,
}

/// One line item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineItemTruth {
    /// Its id.
    pub id: &'static str,
    /// The click rate of a shopper of average interest.
    pub base_ctr: f64,
    /// The factor on the chance of an order.
    pub conversion_factor: f64,
    /// Times it was seen.
    pub impressions: u64,
    /// Times it was clicked.
    pub clicks: u64,
    /// The sum of the true chances of a click over those who saw it.
    pub expected_clicks: f64,
    /// Orders in visits that saw it.
    pub orders: u64,
    /// Orders that would truly not have happened without it (expected).
    pub incremental_orders: f64,
}

impl LineItemTruth {
    /// Returns the true click rate over those who saw it; `None` if nobody did.
    #[must_use]
    pub fn true_ctr(&self) -> Option<f64> {
        (self.impressions > 0).then(|| self.expected_clicks / self.impressions as f64)
    }
}

/// One channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChannelTruth {
    /// The channel.
    pub channel: Channel,
    /// The factor on the chance of an order.
    pub conversion_factor: f64,
    /// Visits through it.
    pub sessions: u64,
    /// Visits through it that ended in an order.
    pub orders: u64,
}

/// A device on which a shopper signed in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkTruth {
    /// The log-in.
    pub login: String,
    /// The device.
    pub device: String,
}

/// The truth of a town so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// The factor that the treatment puts on the chance of an order in a visit. Orders per visit and
    /// orders per person both grow by exactly this, as no visit depends on the arm.
    pub conversion_factor: f64,
    /// The control arm.
    pub control: ArmTruth,
    /// The treated arm.
    pub treatment: ArmTruth,
    /// The line items, in the order of [`crate::Town::line_items`].
    pub line_items: Vec<LineItemTruth>,
    /// The channels, in the order of [`Channel::ALL`].
    pub channels: Vec<ChannelTruth>,
    /// Devices linked to log-ins by a sign-in, sorted.
    pub links: Vec<LinkTruth>,
    /// Visits.
    pub sessions: u64,
    /// Recommended items seen.
    pub recommended: u64,
    /// Recommended items clicked.
    pub recommended_clicks: u64,
    /// Events by type, sorted by type. Counts what was handed to the driver.
    pub events: std::collections::BTreeMap<&'static str, u64>,
}
