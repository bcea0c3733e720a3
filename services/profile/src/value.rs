//! What people are expected to buy: the served model and its forecasts. `training` makes models, `churn`
//! finds who may be leaving. Consent is checked by whoever reads the state.

mod churn;
mod training;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use profile_domain::ProfileState;
use profile_domain::clv::{ClvModel, Customer, DAYS_PER_WEEK, Forecast, PurchaseRecord};
use rapport_api::profile::v1 as pb;
use rapport_api::r#type::v1::Money;
use rapport_types::{Currency, UnixMillis};

use crate::store::model::ModelRow;

pub use churn::{Rank, Sought};
pub use training::{Trainer, train_for_ever};

/// Days ahead that are foretold: a quarter.
pub const HORIZON_DAYS: u32 = 90;
/// What a year takes off the value within the horizon: so near, nothing worth telling.
const DISCOUNT: f64 = 0.0;
const HORIZON_WEEKS: f64 = HORIZON_DAYS as f64 / DAYS_PER_WEEK;
const MICROS: f64 = 1e6;

/// The served model, swapped whole. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Models(Arc<ArcSwapOption<Served>>);

/// A model that was read.
#[derive(Debug)]
pub struct Served {
    /// What is known of it.
    pub row: ModelRow,
    /// The model.
    pub model: ClvModel,
    /// The currency of spend.
    pub currency: Option<Currency>,
}

impl Models {
    /// Returns the served model, `None` before the first training.
    #[must_use]
    pub fn served(&self) -> Option<Arc<Served>> {
        self.0.load_full()
    }
}

impl Served {
    /// Encodes what is known of the model.
    #[must_use]
    pub fn to_wire(&self) -> pb::Model {
        let spend = self.model.spend.as_ref();
        pb::Model {
            version: self.row.name(),
            trained_at_ms: self.row.trained_at.0,
            as_of_ms: self.row.as_of.0,
            persons: self.row.persons as u64,
            repeaters: self.model.purchases.repeaters,
            spenders: spend.map_or(0, |spend| spend.spenders),
            currency: self.row.currency.clone(),
            graph_version: self.row.graph_version as u64,
        }
    }

    fn foretell(&self, customer: &Customer) -> Forecast {
        self.model.forecast(customer, HORIZON_WEEKS, DISCOUNT)
    }

    fn encode(&self, told: &Forecast, record: &PurchaseRecord, as_of: UnixMillis) -> pb::Forecast {
        let money = |units: f64| {
            self.currency.map(|currency| Money {
                currency: currency.to_string(),
                micros: (units * MICROS).round() as i64, // a cast holds at the ends of the range
            })
        };
        let own = self
            .currency
            .and_then(|currency| record.mean_spend(currency));
        pb::Forecast {
            horizon_days: HORIZON_DAYS,
            alive: (record.repeats() > 0).then(|| told.alive.get()),
            purchases: told.purchases,
            spend: told.spend.and_then(money),
            value: told.value.and_then(money),
            repeat_days: record.repeats(),
            span_days: record.span_days(),
            age_days: (told.age_weeks * DAYS_PER_WEEK).round() as u32,
            mean_spend: own.and_then(money),
            model_version: self.row.name(),
            as_of_ms: as_of.0,
        }
    }
}

/// Foretells a person.
///
/// # Errors
/// Why nothing is foretold.
pub(crate) fn forecast(
    served: Option<&Served>,
    state: &ProfileState,
    as_of: UnixMillis,
) -> Result<pb::Forecast, pb::NoForecast> {
    let record = state
        .purchase_record(as_of)
        .ok_or(pb::NoForecast::NoPurchase)?;
    let served = served.ok_or(pb::NoForecast::NoModel)?;
    let customer = record.customer(as_of, served.currency);
    let customer = customer.ok_or(pb::NoForecast::NoPurchase)?;
    Ok(served.encode(&served.foretell(&customer), &record, as_of))
}
