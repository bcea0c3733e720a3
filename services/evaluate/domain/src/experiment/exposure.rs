//! Who was exposed to what, first: kept per subject, folded by person at read.

use std::collections::BTreeMap;

use rapport_types::UnixMillis;

use crate::fold::Merge;

/// One exposure: a variant was really shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exposure {
    /// When it was shown.
    pub at: UnixMillis,
    /// Which variant.
    pub variant: String,
}

/// All exposures of a subject, or of a person, to one experiment.
///
/// A person is analysed by the first exposure; one who has seen two variants (a device linked
/// later, a changed anchor) is a crossover, and counted. The fold keeps only what that needs, so
/// it is associative, commutative and idempotent: a replayed event changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exposures {
    first: Option<Exposure>,
    crossed: bool,
}

impl Exposures {
    /// Takes one exposure. At the same millisecond the variant that sorts first wins.
    pub fn record(&mut self, exposure: Exposure) {
        let Some(first) = &mut self.first else {
            self.first = Some(exposure);
            return;
        };
        self.crossed |= first.variant != exposure.variant;
        if exposure < *first {
            *first = exposure;
        }
    }

    /// Returns the first exposure, or `None` for somebody never exposed.
    #[must_use]
    pub fn first(&self) -> Option<&Exposure> {
        self.first.as_ref()
    }

    /// Returns whether more than one variant was seen.
    #[must_use]
    pub fn crossed(&self) -> bool {
        self.crossed
    }
}

impl Merge for Exposures {
    fn merge(&mut self, other: &Self) {
        if let Some(exposure) = &other.first {
            self.record(exposure.clone());
        }
        self.crossed |= other.crossed;
    }
}

/// People per variant by first exposure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExposureCounts {
    /// Variant to people.
    pub people: BTreeMap<String, u64>,
    /// How many of them have seen another variant too.
    pub crossovers: u64,
}

/// Counts people, each given by the folded exposures of all their subjects.
pub fn count_exposures<'a>(people: impl IntoIterator<Item = &'a Exposures>) -> ExposureCounts {
    let mut counts = ExposureCounts::default();
    for person in people {
        if let Some(first) = person.first() {
            *counts.people.entry(first.variant.clone()).or_default() += 1;
            counts.crossovers += u64::from(person.crossed());
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(log: &[(i64, u8)]) -> Exposures {
        let mut exposures = Exposures::default();
        for &(at, arm) in log {
            exposures.record(Exposure {
                at: UnixMillis(at),
                variant: format!("v{arm}"),
            });
        }
        exposures
    }

    #[test]
    fn first_exposure_wins_and_crossovers_are_counted() {
        let people = [of(&[(5, 1), (3, 0)]), of(&[(1, 1), (2, 1)]), of(&[])];
        let counts = count_exposures(&people);
        let expected = [("v0".to_owned(), 1), ("v1".to_owned(), 1)];
        assert_eq!(
            counts,
            ExposureCounts {
                people: expected.into(),
                crossovers: 1
            }
        );
    }

    proptest! {
        #[test]
        fn folding_is_associative_commutative_and_idempotent(
            a in prop::collection::vec((0i64..9, 0u8..3), 0..6),
            b in prop::collection::vec((0i64..9, 0u8..3), 0..6),
        ) {
            let all = of(&[a.clone(), b.clone()].concat());
            let (mut one, mut two) = (of(&a), of(&b));
            one.merge(&of(&b));
            two.merge(&of(&a));
            prop_assert_eq!(&one, &all);
            prop_assert_eq!(&two, &all);
            one.merge(&all);
            prop_assert_eq!(&one, &all);
        }
    }
}
