//! Who may be leaving: persons whose chance of being a customer is below a bar, most expected value first.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use profile_domain::clv::{Customer, PurchaseRecord};
use rapport_api::profile::v1 as pb;
use rapport_types::{PARTITIONS, Purpose, SubjectId, UnixMillis};

use super::Served;
use crate::error::Error;
use crate::profiles::ProfileReader;

/// Persons foretold before others may run: about five milliseconds.
const SLICE: usize = 64;

/// Whom to look for.
#[derive(Debug, Clone, Copy)]
pub struct Sought {
    /// The instant.
    pub as_of: UnixMillis,
    /// The bar, in `(0, 1]`: whose chance is below it.
    pub alive_max: f64,
    /// Most persons to return, at least 1.
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<Rank>,
}

/// A person's place, first to last: most value expected, most purchases expected, smallest anchor.
#[derive(Debug, Clone, Copy)]
pub struct Rank {
    /// Units of currency expected within the horizon; 0 where no spend is foretold.
    pub value: f64,
    /// Purchase days expected within the horizon.
    pub purchases: f64,
    /// The person.
    pub anchor: SubjectId,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_value = other.value.total_cmp(&self.value);
        let by_purchases = || other.purchases.total_cmp(&self.purchases);
        by_value
            .then_with(by_purchases)
            .then_with(|| self.anchor.cmp(&other.anchor))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

/// A person who is below the bar.
struct Candidate {
    anchor: SubjectId,
    record: PurchaseRecord,
    customer: Customer,
}

impl ProfileReader {
    /// Returns one page of persons who may be leaving, and the rank of its last one where there are more.
    ///
    /// * Cost: a microsecond for each person, 80 more for each below the bar; memory for one page and
    ///   the persons below the bar of one partition. Lets others run.
    ///
    /// # Errors
    /// [`Error::ConsentViewStale`], [`Error::States`].
    pub async fn churners(
        &self,
        served: &Served,
        sought: &Sought,
    ) -> Result<(Vec<pb::Churner>, Option<Rank>), Error> {
        self.fresh()?;
        let mut best: BTreeMap<Rank, pb::Forecast> = BTreeMap::new();
        for partition in 0..PARTITIONS {
            for slice in self
                .candidates(partition, served, sought)
                .await?
                .chunks(SLICE)
            {
                for found in slice {
                    add(&mut best, served, sought, found);
                }
                tokio::task::yield_now().await;
            }
        }
        // Had the view gone stale meanwhile, a list of a few would look like all there are.
        self.fresh()?;
        let is_more = best.len() > sought.limit;
        let page: Vec<(Rank, pb::Forecast)> = best.into_iter().take(sought.limit).collect();
        let last = page.last().filter(|_| is_more).map(|(rank, _)| *rank);
        // Who withdrew since it was visited is not spoken of.
        let page = page.into_iter().filter(|(rank, _)| {
            let granted = self.people.consent(rank.anchor, Purpose::Personalise);
            granted.is_granted()
        });
        let churner = |(rank, forecast): (Rank, pb::Forecast)| pb::Churner {
            anchor: rank.anchor.to_vec(),
            members: self.people.members(rank.anchor).len() as u32,
            forecast: Some(forecast),
        };
        Ok((page.map(churner).collect(), last))
    }

    /// Returns a partition's persons who bought again and are below the bar.
    async fn candidates(
        &self,
        partition: u32,
        served: &Served,
        sought: &Sought,
    ) -> Result<Vec<Candidate>, Error> {
        let mut found = Vec::new();
        let model = &served.model.purchases.model;
        self.persons(partition, |anchor, state| {
            let Some(record) = state.purchase_record(sought.as_of) else {
                return;
            };
            let Some(customer) = record.customer(sought.as_of, served.currency) else {
                return;
            };
            if record.repeats() > 0 && model.alive(&customer.history).get() < sought.alive_max {
                found.push(Candidate {
                    anchor,
                    record,
                    customer,
                });
            }
        })
        .await?;
        Ok(found)
    }
}

/// Adds a person to the page, of which one more is kept than asked for: whether there is a next page.
fn add(
    best: &mut BTreeMap<Rank, pb::Forecast>,
    served: &Served,
    sought: &Sought,
    found: &Candidate,
) {
    let told = served.foretell(&found.customer);
    let rank = Rank {
        value: told.value.unwrap_or(0.0),
        purchases: told.purchases,
        anchor: found.anchor,
    };
    if sought.after.is_none_or(|after| rank > after) {
        best.insert(rank, served.encode(&told, &found.record, sought.as_of));
        if best.len() > sought.limit + 1 {
            best.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rank((value, purchases, anchor): (u8, u8, u8)) -> Rank {
        Rank {
            value: f64::from(value),
            purchases: f64::from(purchases),
            anchor: SubjectId::new([anchor; 16]),
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(parts in prop::array::uniform3((0u8..3, 0u8..3, 0u8..3))) {
            let [a, b, c] = parts.map(rank);
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a == b, parts[0] == parts[1]);
            prop_assert!(!(a <= b && b <= c) || a <= c);
        }
    }

    #[test]
    fn most_value_comes_first() {
        let mut ranks = [(1, 9, 1), (2, 1, 2), (2, 3, 9), (2, 3, 4)].map(rank);
        ranks.sort();
        assert_eq!(
            ranks,
            [(2, 3, 4), (2, 3, 9), (2, 1, 2), (1, 9, 1)].map(rank)
        );
    }
}
