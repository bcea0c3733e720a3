//! Tables and laws of targeting.

use super::*;
use proptest::prelude::*;

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

const CONTEXT: Context<'_> = Context {
    placement: "home",
    region: "CN-31",
    language: "zh-CN",
    device: Some(Device::Phone),
    hour_of_day: 9,
};

#[track_caller]
fn check(targeting: &Targeting, audience: &Audience<'_>, expected: &[Miss]) {
    assert_eq!(
        targeting
            .evaluate(&CONTEXT, audience)
            .iter()
            .collect::<Vec<_>>(),
        expected
    );
}

fn matching() -> Targeting {
    Targeting {
        placements: words(&["cart", "home"]),
        regions: words(&["CN"]),
        languages: words(&["zh"]),
        devices: vec![Device::Phone],
        hours_of_day: HourSet::new([8, 9]).unwrap(),
        interests: words(&["tea", "cups"]),
        segments: words(&["vip"]),
        lifecycles: words(&["active"]),
        adults_only: true,
    }
}

#[test]
fn each_predicate_fails_alone_and_all_fail_together() {
    let (interests, segments) = (words(&["tea"]), words(&["vip"]));
    let person = Person {
        age_band: AgeBand::Adult,
        interests: &interests,
        segments: &segments,
        lifecycle: "active",
    };
    let adult = Audience::Consented(person);
    let changed = |change: &dyn Fn(&mut Targeting), expected: &[Miss]| {
        let mut targeting = matching();
        change(&mut targeting);
        check(&targeting, &adult, expected);
    };
    check(&Targeting::default(), &adult, &[]);
    changed(&|_| {}, &[]);
    changed(&|it| it.placements = words(&["cart"]), &[Miss::Placement]);
    changed(&|it| it.regions = words(&["C"]), &[Miss::Region]);
    changed(&|it| it.languages = words(&["en"]), &[Miss::Language]);
    changed(&|it| it.devices = vec![Device::Tablet], &[Miss::Device]);
    changed(
        &|it| it.hours_of_day = HourSet::new([0, 23]).unwrap(),
        &[Miss::Hour],
    );
    changed(&|it| it.interests = words(&["cars"]), &[Miss::Interest]);
    let three = |it: &mut Targeting| {
        it.segments = words(&["new"]);
        it.lifecycles = words(&["lost"]);
        it.regions = words(&["DE"]);
    };
    changed(&three, &[Miss::Region, Miss::Segment, Miss::Lifecycle]);
    check(&matching(), &Audience::NotConsented, &[Miss::Consent]);
    let minor = Audience::Consented(Person {
        age_band: AgeBand::Minor,
        ..person
    });
    check(&matching(), &minor, &[Miss::NotKnownAdult]);
}

#[test]
fn hours_are_those_of_a_day() {
    assert_eq!(HourSet::new([24]), None);
    assert_eq!(
        HourSet::new([23, 0]).unwrap().iter().collect::<Vec<_>>(),
        [0, 23]
    );
}

fn term_list() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(
        prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned),
        0..3,
    )
}

fn targeting() -> impl Strategy<Value = Targeting> {
    (
        term_list(),
        term_list(),
        term_list(),
        term_list(),
        prop::bool::ANY,
    )
        .prop_map(
            |(placements, interests, segments, lifecycles, adults_only)| Targeting {
                placements,
                interests,
                segments,
                lifecycles,
                adults_only,
                ..Targeting::default()
            },
        )
}

proptest! {
    /// Minors and unknown ages never get targeted ads, and what they do get depends on the page alone.
    #[test]
    fn minors_and_unknown_ages_get_contextual_ads_only(
        targeting in targeting(),
        interests in term_list(), segments in term_list(), lifecycle in "[abc]",
        is_unknown: bool, placement in "[abc]",
    ) {
        let age_band = if is_unknown { AgeBand::Unknown } else { AgeBand::Minor };
        let child = Audience::Consented(Person { age_band, interests: &interests, segments: &segments, lifecycle: &lifecycle });
        let blank = Audience::Consented(Person { age_band, ..Person::default() });
        let context = Context { placement: &placement, ..Context::default() };
        let misses = targeting.evaluate(&context, &child);
        prop_assert!(!(targeting.is_personal() && misses.is_match()));
        prop_assert_eq!(misses, targeting.evaluate(&context, &blank));
        prop_assert!(!child.is_targetable());
    }

    #[test]
    fn without_consent_nothing_personal_matches(targeting in targeting(), placement in "[abc]") {
        let context = Context { placement: &placement, ..Context::default() };
        let misses = targeting.evaluate(&context, &Audience::NotConsented);
        prop_assert_eq!(misses.contains(Miss::Consent), targeting.is_personal());
    }

    #[test]
    fn another_term_in_a_list_never_loses_a_match(
        mut targeting in targeting(), interests in term_list(), extra in "[abc]",
    ) {
        let person = Person { age_band: AgeBand::Adult, interests: &interests, ..Person::default() };
        let audience = Audience::Consented(person);
        let before = targeting.evaluate(&Context::default(), &audience);
        if !targeting.interests.is_empty() {
            targeting.interests.push(extra);
            let after = targeting.evaluate(&Context::default(), &audience);
            prop_assert!(before.contains(Miss::Interest) || !after.contains(Miss::Interest));
        }
    }
}
