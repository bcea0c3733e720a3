//! Who and when a line item is for: a conjunction over a closed set of attributes.
//!
//! The law of this file: without consent, and for anybody not known to be of age, nothing personal is
//! read. A line item that targets people then never matches, whatever the person is like; one that
//! targets only the page (placement, region, language, device, hour) may.

use crate::campaign::Violation;
use crate::creative::{is_language, same_language};

/// Most terms of one list.
pub const TARGETING_TERMS_MAX: usize = 100;
/// Longest term, in characters.
pub const TERM_CHARS_MAX: usize = 64;

/// What kind of machine asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    /// A telephone.
    Phone,
    /// A tablet.
    Tablet,
    /// A desktop or laptop computer.
    Desktop,
    /// A television.
    Television,
}

/// How old somebody is, as coarsely as the law needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum AgeBand {
    /// Not known: treated as a minor.
    #[default]
    Unknown,
    /// Under age.
    Minor,
    /// Of age.
    Adult,
}

/// A set of hours of the day; empty stands for all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HourSet(u32);

impl HourSet {
    /// Returns the set of the given hours, `None` if one is above 23.
    pub fn new(hours: impl IntoIterator<Item = u32>) -> Option<Self> {
        hours.into_iter().try_fold(Self::default(), |set, hour| {
            (hour < 24).then(|| Self(set.0 | 1 << hour))
        })
    }

    /// Returns whether `hour` is in the set, or the set is empty.
    #[must_use]
    pub const fn admits(self, hour: u32) -> bool {
        self.0 == 0 || (hour < 24 && self.0 & (1 << hour) != 0)
    }

    /// Returns the hours in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..24).filter(move |hour| self.0 & (1 << hour) != 0)
    }
}

/// Every list is one predicate: one of its terms is enough, an empty one holds for everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targeting {
    /// Placements.
    pub placements: Vec<String>,
    /// Region codes; `CN` admits `CN-31`.
    pub regions: Vec<String>,
    /// BCP 47 languages, by primary subtag.
    pub languages: Vec<String>,
    /// Machines.
    pub devices: Vec<Device>,
    /// Hours of the day, in UTC.
    pub hours_of_day: HourSet,
    /// Interest tags. Personal.
    pub interests: Vec<String>,
    /// Segments. Personal.
    pub segments: Vec<String>,
    /// Lifecycle stages. Personal.
    pub lifecycles: Vec<String>,
    /// Only people known to be of age: for goods that minors may not buy. Personal.
    pub adults_only: bool,
}

/// What the request itself says: nothing about the person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Context<'a> {
    /// The placement to fill.
    pub placement: &'a str,
    /// Region code, empty if unknown.
    pub region: &'a str,
    /// BCP 47, empty if unknown.
    pub language: &'a str,
    /// The machine, `None` if unknown.
    pub device: Option<Device>,
    /// Hour of the day in UTC, 0 to 23.
    pub hour_of_day: u32,
}

/// What is known of the person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Person<'a> {
    /// How old.
    pub age_band: AgeBand,
    /// Interest tags.
    pub interests: &'a [String],
    /// Segments.
    pub segments: &'a [String],
    /// Lifecycle stage, empty if unknown.
    pub lifecycle: &'a str,
}

/// Whom an ad would be shown to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Audience<'a> {
    /// Nobody in particular: the `advertise` purpose is not granted, or there is no subject.
    #[default]
    NotConsented,
    /// Somebody who granted the `advertise` purpose.
    Consented(Person<'a>),
}

impl Audience<'_> {
    /// Returns whether the person may be targeted: consent is given and they are known to be of age.
    #[must_use]
    pub fn is_targetable(&self) -> bool {
        matches!(
            self,
            Self::Consented(Person {
                age_band: AgeBand::Adult,
                ..
            })
        )
    }
}

/// One reason why a line item is not for this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Miss {
    /// Another placement.
    Placement = 1,
    /// Another region, or an unknown one.
    Region = 1 << 1,
    /// Another language, or an unknown one.
    Language = 1 << 2,
    /// Another machine, or an unknown one.
    Device = 1 << 3,
    /// Another hour.
    Hour = 1 << 4,
    /// None of the interests.
    Interest = 1 << 5,
    /// None of the segments.
    Segment = 1 << 6,
    /// Another lifecycle stage.
    Lifecycle = 1 << 7,
    /// It targets people, and this one did not grant it.
    Consent = 1 << 8,
    /// It targets people, and this one is a minor or of unknown age.
    NotKnownAdult = 1 << 9,
}

impl Miss {
    /// Every reason, in the order they are reported.
    pub const ALL: [Self; 10] = [
        Self::Placement,
        Self::Region,
        Self::Language,
        Self::Device,
        Self::Hour,
        Self::Interest,
        Self::Segment,
        Self::Lifecycle,
        Self::Consent,
        Self::NotKnownAdult,
    ];

    /// Returns a clause for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Placement => "not for this placement",
            Self::Region => "not for this region",
            Self::Language => "not for this language",
            Self::Device => "not for this device",
            Self::Hour => "not at this hour",
            Self::Interest => "none of its interests",
            Self::Segment => "none of its segments",
            Self::Lifecycle => "not for this lifecycle stage",
            Self::Consent => "targets people, and advertising is not consented",
            Self::NotKnownAdult => "targets people, and this one is not known to be of age",
        }
    }
}

/// All reasons why a line item is not for a request; empty means it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MissSet(u16);

impl MissSet {
    /// Returns whether the line item is for the request.
    #[must_use]
    pub const fn is_match(self) -> bool {
        self.0 == 0
    }

    /// Returns whether `miss` is one of the reasons.
    #[must_use]
    pub const fn contains(self, miss: Miss) -> bool {
        self.0 & miss as u16 != 0
    }

    /// Returns the reasons.
    pub fn iter(self) -> impl Iterator<Item = Miss> {
        Miss::ALL
            .into_iter()
            .filter(move |miss| self.contains(*miss))
    }

    fn note(&mut self, miss: Miss, holds: bool) {
        if !holds {
            self.0 |= miss as u16;
        }
    }
}

impl Targeting {
    /// Returns whether the line item targets people, not only pages.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        self.adults_only
            || !(self.interests.is_empty()
                && self.segments.is_empty()
                && self.lifecycles.is_empty())
    }

    /// Evaluates every predicate and returns all that fail. Cost: the number of terms; no allocation.
    ///
    /// Personal predicates are evaluated only for a targetable audience: for any other, the answer
    /// does not depend on the person.
    #[must_use]
    pub fn evaluate(&self, context: &Context<'_>, audience: &Audience<'_>) -> MissSet {
        let mut misses = MissSet::default();
        misses.note(
            Miss::Placement,
            admits(&self.placements, |it| it == context.placement),
        );
        misses.note(
            Miss::Region,
            admits(&self.regions, |it| is_region_in(context.region, it)),
        );
        misses.note(
            Miss::Language,
            admits(&self.languages, |it| same_language(it, context.language)),
        );
        misses.note(
            Miss::Device,
            admits(&self.devices, |it| context.device == Some(*it)),
        );
        misses.note(Miss::Hour, self.hours_of_day.admits(context.hour_of_day));
        if !self.is_personal() {
            return misses;
        }
        match audience {
            Audience::NotConsented => misses.note(Miss::Consent, false),
            Audience::Consented(person) if person.age_band != AgeBand::Adult => {
                misses.note(Miss::NotKnownAdult, false);
            }
            Audience::Consented(person) => {
                misses.note(
                    Miss::Interest,
                    admits(&self.interests, |it| person.interests.contains(it)),
                );
                misses.note(
                    Miss::Segment,
                    admits(&self.segments, |it| person.segments.contains(it)),
                );
                misses.note(
                    Miss::Lifecycle,
                    admits(&self.lifecycles, |it| it == person.lifecycle),
                );
            }
        }
        misses
    }

    pub(crate) fn check(&self, bad: &mut Vec<Violation>) {
        let lists = [
            ("placements", &self.placements),
            ("regions", &self.regions),
            ("languages", &self.languages),
            ("interests", &self.interests),
            ("segments", &self.segments),
            ("lifecycles", &self.lifecycles),
        ];
        for (name, terms) in lists {
            if terms.len() > TARGETING_TERMS_MAX {
                let why = format!("must have at most {TARGETING_TERMS_MAX} entries");
                bad.push(Violation::new(format!("targeting.{name}"), why));
            }
            for (at, term) in terms.iter().take(TARGETING_TERMS_MAX).enumerate() {
                let field = format!("targeting.{name}[{at}]");
                if !(1..=TERM_CHARS_MAX).contains(&term.chars().count()) {
                    bad.push(Violation::new(
                        field,
                        format!("must have 1 to {TERM_CHARS_MAX} characters"),
                    ));
                } else if name == "languages" && !is_language(term) {
                    bad.push(Violation::new(field, "must be a BCP 47 language"));
                }
            }
        }
    }
}

fn admits<T>(terms: &[T], holds: impl Fn(&T) -> bool) -> bool {
    terms.is_empty() || terms.iter().any(holds)
}

/// Returns whether `region` is `wanted` or a part of it: ISO 3166-2 codes start with the country's.
fn is_region_in(region: &str, wanted: &str) -> bool {
    region
        .strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests;
