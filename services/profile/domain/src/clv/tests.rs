//! Values worked by hand or published, laws, and what is answered where there is little to learn.

use proptest::prelude::*;

use super::*;

fn history(frequency: u32, recency: f64, age: f64) -> History {
    History::new(frequency, recency, age).unwrap()
}

fn customer(frequency: u32, recency: f64, age: f64, mean_spend: f64) -> Customer {
    Customer {
        history: history(frequency, recency, age),
        mean_spend,
    }
}

#[track_caller]
fn close(found: f64, expected: f64, error: f64) {
    assert!((found - expected).abs() <= error, "{found}, not {expected}");
}

#[test]
fn histories_are_read_off_days() {
    let read = |days: &[i64], as_of| History::of_days(days, as_of);
    assert_eq!(read(&[10, 17, 31], 45), Some(history(2, 3.0, 5.0)));
    assert_eq!(read(&[10, 17, 31], 30), Some(history(1, 1.0, 20.0 / 7.0)));
    assert_eq!(read(&[10], 10), Some(history(0, 0.0, 0.0)));
    assert_eq!(read(&[10], 9), None);
    for (frequency, recency, age) in [
        (0, 1.0, 2.0),
        (1, 0.0, 2.0),
        (1, 3.0, 2.0),
        (1, -1.0, 2.0),
        (1, 1.0, f64::NAN),
        (1, 1.0, f64::INFINITY),
        (FREQUENCY_MAX + 1, 1.0, 2.0),
    ] {
        let refused = History::new(frequency, recency, age);
        assert_eq!(
            refused,
            Err(ClvError::ImpossibleHistory),
            "{frequency} {recency} {age}"
        );
    }
}

#[test]
fn everything_is_one_and_can_be_worked_by_hand() {
    let model = BgNbd::new(1.0, 1.0, 1.0, 1.0).unwrap();
    // No repeat in one week: (1 / (1 + 1))^1.
    close(
        model.log_likelihood(&history(0, 0.0, 1.0)),
        -f64::ln(2.0),
        1e-15,
    );
    close(model.alive(&history(0, 0.0, 1.0)).get(), 1.0, 0.0);
    // One at week 1 of 3. Alive: B(1, 2) / B(1, 1) / 4^2 = 1/32; gone: B(2, 1) / B(1, 1) / 2^2 = 1/8.
    let one = history(1, 1.0, 3.0);
    close(model.log_likelihood(&one), f64::ln(5.0 / 32.0), 1e-14);
    close(model.alive(&one).get(), 0.2, 1e-15);
    // Nobody drops out but at a chance p that is uniform, and the mean of (1 - 1 / (1 + p)) / p is ln 2.
    close(
        model.expected_purchases(&history(0, 0.0, 0.0), 1.0),
        f64::ln(2.0),
        1e-14,
    );
    // x = 2 purchases of mean 5: 2 (v + 10) / (2 * 2 + 3 - 1) with p = 2, q = 3, v = 4.
    let spend = GammaGamma::new(2.0, 3.0, 4.0).unwrap();
    close(spend.expected_spend(2, 5.0).unwrap(), 28.0 / 6.0, 1e-15);
    close(spend.expected_spend(0, 0.0).unwrap(), 4.0, 1e-15);
    // One purchase of 4 with p = q = 1, v = 4: 4 / (4 + 4)^2.
    let plain = GammaGamma::new(1.0, 1.0, 4.0).unwrap();
    close(plain.log_likelihood(1, 4.0), f64::ln(1.0 / 16.0), 1e-14);
    assert_eq!(plain.expected_spend(0, 0.0), None);
}

#[test]
fn the_published_customer() {
    // Fader, Hardie and Lee, "Implementing the BG/NBD Model for Customer Base Analysis in Excel", 2005:
    // customer 0001 bought twice again by week 30.43 of 38.86 and is expected to buy 1.226 times in 39.
    let model = BgNbd::new(0.243, 4.414, 0.793, 2.426).unwrap();
    close(
        model.expected_purchases(&history(2, 30.43, 38.86), 39.0),
        1.226,
        5e-4,
    );
    // Fader and Hardie, "The Gamma-Gamma Model of Monetary Value", 2013: the spend of customers 0001,
    // 0002 and 0003.
    let spend = GammaGamma::new(6.25, 3.74, 15.44).unwrap();
    close(spend.expected_spend(2, 22.35).unwrap(), 24.66, 0.01);
    close(spend.expected_spend(1, 11.77).unwrap(), 18.91, 0.02);
    close(spend.expected_spend(0, 0.0).unwrap(), 35.2, 0.05);
}

#[test]
fn a_year_of_value() {
    let purchases = PurchaseFit {
        model: BgNbd::new(0.5, 5.0, 0.8, 2.5).unwrap(),
        log_likelihood: -1.0,
        customers: 2,
        repeaters: 1,
        at_bound: Vec::new(),
        converged: true,
    };
    let spend = SpendFit {
        model: GammaGamma::new(2.0, 3.0, 4.0).unwrap(),
        log_likelihood: -1.0,
        spenders: 1,
        at_bound: Vec::new(),
        converged: true,
    };
    let model = ClvModel {
        purchases,
        spend: Some(spend),
    };
    let one = customer(2, 10.0, 20.0, 5.0);
    let free = model.forecast(&one, 52.0, 0.0);
    close(free.spend.unwrap(), 28.0 / 6.0, 1e-15);
    close(free.value.unwrap(), free.purchases * 28.0 / 6.0, 1e-12);
    // Purchases thin out, so more than half of a year's come before its middle.
    let discounted = model.forecast(&one, 52.0, 0.21).value.unwrap() / free.value.unwrap();
    assert!(
        (1.0 / 1.1..1.0 / 1.05).contains(&discounted),
        "{discounted}"
    );
    // Without repeat purchases nothing tells the own mean apart from everybody's.
    assert_eq!(
        model.forecast(&customer(0, 0.0, 3.0, 99.0), 9.0, 0.1).spend,
        Some(4.0)
    );
    assert_eq!(model.forecast(&one, 0.0, 0.1).value, Some(0.0));
    let unknown = ClvModel {
        spend: None,
        ..model
    };
    let found = unknown.forecast(&one, 52.0, 0.1);
    assert_eq!((found.spend, found.value), (None, None));
    assert_eq!(
        (found.frequency, found.recency_weeks, found.age_weeks),
        (2, 10.0, 20.0)
    );
}

#[test]
fn spend_that_no_number_holds_is_refused() {
    let spending = |mean_spend: f64| -> Vec<Customer> {
        let of = |n: u32| customer(1 + n % 4, 2.0 + f64::from(n), 50.0, mean_spend);
        (0..30).map(of).collect()
    };
    for mean_spend in [1e308, f64::INFINITY, 1e-308] {
        assert_eq!(
            ClvModel::fit(&spending(mean_spend)),
            Err(ClvError::SpendOutOfRange)
        );
    }
    for mean_spend in [9e99, 2e-100] {
        let model = ClvModel::fit(&spending(mean_spend)).unwrap();
        let spend = model.spend.unwrap();
        assert!(
            spend.model.parameters().iter().all(|it| it.is_finite())
                && spend.log_likelihood.is_finite(),
            "{spend:?}"
        );
    }
}

#[test]
fn little_to_learn_gives_a_reason_or_a_bound_and_no_nonsense() {
    assert_eq!(ClvModel::fit(&[]), Err(ClvError::NoCustomers));
    let once = [customer(0, 0.0, 5.0, 0.0), customer(0, 0.0, 9.0, 0.0)];
    assert_eq!(ClvModel::fit(&once), Err(ClvError::NoRepeats));
    // One who came back, and all alike: the likelihood rises for ever, the parameters stay finite.
    for customers in [
        vec![customer(1, 2.0, 3.0, 0.0)],
        vec![customer(4, 8.0, 10.0, 20.0); 50],
        vec![customer(100_000, 90_000.0, 104_400.0, 1e12), once[0]],
    ] {
        let model = ClvModel::fit(&customers).unwrap();
        let parameters = model.purchases.model.parameters();
        assert!(
            parameters.iter().all(|it| it.is_finite() && *it > 0.0),
            "{model:?}"
        );
        assert!(model.purchases.log_likelihood.is_finite());
        let found = model.forecast(&customers[0], 52.0, 0.1);
        assert!(
            found.purchases.is_finite() && found.purchases >= 0.0,
            "{found:?}"
        );
        assert_eq!(model.spend.is_some(), customers.len() >= SPENDERS_MIN);
        if let Some(value) = found.value {
            close(found.spend.unwrap(), 20.0, 1e-3);
            assert!(value.is_finite());
        }
    }
}

#[test]
fn the_order_of_customers_changes_nothing() {
    let mut customers: Vec<Customer> = (0..200u32)
        .map(|n| {
            let age = 10.0 + f64::from(n % 7);
            let frequency = (n * n % 23) / 4;
            let recency = if frequency == 0 {
                0.0
            } else {
                age * f64::from(n % 9 + 1) / 10.0
            };
            customer(frequency, recency, age, f64::from(5 + n % 40))
        })
        .collect();
    let first = ClvModel::fit(&customers).unwrap().to_bytes();
    customers.reverse();
    customers.swap(3, 90);
    assert_eq!(ClvModel::fit(&customers).unwrap().to_bytes(), first);
}

fn any_history() -> impl Strategy<Value = History> {
    (0u32..300, 0.01..300.0f64, 0.0..300.0f64).prop_map(|(frequency, recency, silence)| {
        let recency = if frequency == 0 { 0.0 } else { recency };
        history(frequency, recency, recency + silence)
    })
}

fn any_model() -> impl Strategy<Value = BgNbd> {
    prop::array::uniform4(-6.0..6.0f64).prop_map(|ln| {
        let [r, alpha, a, b] = ln.map(f64::exp);
        BgNbd::new(r, alpha, a, b).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn life_is_a_chance_and_fades(model in any_model(), seen in any_history(), later in 0.1..100.0f64) {
        let now = model.alive(&seen).get();
        let then = model.alive(&history(seen.frequency, seen.recency, seen.age + later)).get();
        prop_assert!((0.0..=1.0).contains(&now));
        prop_assert!(then <= now, "{then} after {now}");
        prop_assert!(model.log_likelihood(&seen).is_finite());
    }

    #[test]
    fn expectations_grow_and_are_bounded(model in any_model(), seen in any_history(), weeks in 0.0..500.0f64) {
        let [r, alpha, _, _] = model.parameters();
        let until = model.expected_purchases_until(&seen, &[0.0, weeks, weeks * 1.5]);
        let most = (r + f64::from(seen.frequency)) / (alpha + seen.age) * weeks;
        prop_assert!(until[0] == 0.0 && until[1] >= 0.0 && until[2] >= until[1], "{until:?}");
        prop_assert!(until[1] <= most * (1.0 + 1e-12) * model.alive(&seen).get(), "{until:?} {most}");
    }

    #[test]
    fn spend_lies_between_the_own_mean_and_everybodys(
        p in 0.1..20.0f64, q in 1.01..20.0f64, v in 0.1..100.0f64, x in 1u32..50, mean in 0.01..1e3f64,
    ) {
        let model = GammaGamma::new(p, q, v).unwrap();
        let all = model.expected_spend(0, 0.0).unwrap();
        let found = model.expected_spend(x, mean).unwrap();
        prop_assert!(found >= all.min(mean) * (1.0 - 1e-12) && found <= all.max(mean) * (1.0 + 1e-12));
    }

    #[test]
    fn no_neighbour_of_the_fit_is_likelier(
        customers in prop::collection::vec((any_history(), 0.1..200.0f64), 12..60),
        step in prop::array::uniform7(-0.05..0.05f64),
    ) {
        let customers: Vec<Customer> = customers
            .into_iter()
            .chain([(history(1, 2.0, 5.0), 3.0)])
            .map(|(history, mean_spend)| Customer { history, mean_spend })
            .collect();
        let fit = ClvModel::fit(&customers).unwrap();
        let moved: Vec<f64> = fit.purchases.model.parameters().iter().zip(&step).map(|(it, by)| it * by.exp()).collect();
        let beside = BgNbd::new(moved[0], moved[1], moved[2], moved[3]).unwrap();
        let of = |model: &BgNbd| customers.iter().map(|it| model.log_likelihood(&it.history)).sum::<f64>();
        let best = of(&fit.purchases.model);
        let slack = 1e-9 * best.abs().max(1.0);
        prop_assert!((best - fit.purchases.log_likelihood).abs() <= slack);
        // At a wall of the range searched the likelihood may still rise beyond.
        if fit.purchases.at_bound.is_empty() {
            prop_assert!(of(&beside) <= best + slack, "{} {best}", of(&beside));
        }
        if let Some(spend) = fit.spend.filter(|spend| spend.at_bound.is_empty()) {
            let moved: Vec<f64> = spend.model.parameters().iter().zip(&step[4..]).map(|(it, by)| it * by.exp()).collect();
            let beside = GammaGamma::new(moved[0], moved[1], moved[2]).unwrap();
            let spenders = || customers.iter().filter(|it| it.history.frequency() > 0);
            let of = |model: &GammaGamma| {
                spenders().map(|it| model.log_likelihood(it.history.frequency(), it.mean_spend)).sum::<f64>()
            };
            let best = of(&spend.model);
            prop_assert!(of(&beside) <= best + 1e-9 * best.abs().max(1.0), "{} {best}", of(&beside));
        }
    }
}
