//! Histories worked by hand, through files; what is unusual in them; what is refused.

use tempfile::TempDir;

use super::*;
use crate::args::Task;
use crate::support::{common, job, put};

fn args(folder: &TempDir, file: &str, end: &str) -> ClvArgs {
    ClvArgs {
        transactions: put(folder, "t.csv", file),
        calibration_end: end.to_owned(),
        common: common(),
    }
}

fn read(file: &str, end: &str) -> Result<Data, LabError> {
    Data::read(&args(&tempfile::tempdir().unwrap(), file, end))
}

fn run(args: &ClvArgs, save: Option<std::path::PathBuf>) -> Result<Answer, LabError> {
    plan(args)?;
    let job = Job {
        save,
        ..job(Task::Clv(args.clone()), "bgnbd")
    };
    measure(args, &job)
}

/// Customers who come back after `n % 5` weeks and more, or never; two rows a day.
fn shop() -> String {
    let mut file = "customer,date,quantity,amount\n".to_owned();
    for n in 0..60 {
        let days = [1, 2 + n % 28, 3 + n % 11, 9 + n % 17, 28];
        let months = ["01", "02", "03", "04", "07"];
        let bought = 1 + n * n % 5;
        for (day, month) in days.iter().zip(months).take(bought) {
            file += &format!("c{n},2020{month}{:02},1,{}\n", day.min(&28), 5 + n % 13);
            file += &format!("c{n},2020-{month}-{:02},2,2.5\n", day.min(&28));
        }
    }
    file
}

const FILE: &str = "customer,date,quantity,amount
a,20200101,1,10
b,20200103,1,0
a,2020-01-15,1,4
a,20200115,1,6
c,20200102,1,7
a,2020-01-22T23:30:00+05:00,2,20
c,20200102,-1,-7
a,20200205,1,5
b,20200206,1,5
late,20200203,1,9
b,20200212,1,5
";

#[test]
fn histories_worked_by_hand() {
    let data = read(FILE, "20200129").unwrap();
    let person = |name: &str, days: &[i64], age: i64, mean_spend, later, later_rows| Person {
        name: name.to_owned(),
        customer: Customer {
            history: profile_domain::clv::History::of_days(days, age).unwrap(),
            mean_spend,
        },
        later,
        later_rows,
    };
    assert_eq!(
        data.people,
        [
            // Two rows of the 15th are one purchase of 10.
            person("a", &[0, 14, 21], 28, 15.0, 1, 1),
            person("b", &[2], 28, 0.0, 2, 2),
            person("c", &[1], 28, 0.0, 0, 0),
        ]
    );
    assert_eq!((data.calibration_rows, data.newcomers), (6, 1));
    assert_eq!(data.held_out_weeks, 2.0);
    assert_eq!(data.warnings.len(), 1);
    assert!(data.warnings[0].ends_with("1 row(s) below 0 are returns and left out"));
}

#[test]
fn columns_are_found_by_name_or_place() {
    let expected = read(
        "customer,date,amount\na,20200101,3\na,20200102,4\n",
        "20200105",
    )
    .unwrap();
    for file in [
        "who,when,paid\na,20200101,3\na,20200102,4\n",
        "who,when,items,paid\na,2020-01-01,2,3\na,2020-01-02,1,4\n",
        // By place a returned item is a return too, and no other column is sought by name.
        "who,when,items,paid\na,2020-01-01,2,3\na,2020-01-02,1,4\na,2020-01-03,-1,4\n",
        "who,when,items,amount,quantity\na,2020-01-01,2,9,3\na,2020-01-02,1,9,4\n",
        "amount,date,customer\n3,20200101,a\n4,20200102,a\n",
        "note,date,customer,paid\n-,20200101,a,3\n-,20200102,a,4\n",
    ] {
        assert_eq!(
            read(file, "2020-01-05").unwrap().people,
            expected.people,
            "{file}"
        );
    }
    let error = read("who,when,what,paid\na,20200101,x,3\n", "20200105").unwrap_err();
    let expected = "line 2, column 3 (what): \"x\" is no number";
    assert!(error.to_string().ends_with(expected), "{error}");
    let error = read("a,b\n1,2\n", "20200101").unwrap_err().to_string();
    let expected =
        "line 1, column 3: the columns customer, date, amount are needed, the header has a, b";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (file, end, expected) in [
        (
            FILE,
            "yesterday",
            "--calibration-end yesterday: is no date; write YYYY-MM-DD or YYYYMMDD",
        ),
        (
            "customer,date,amount\na,20201301,1\n",
            "20200101",
            "line 2, column 2 (date): \"20201301\" is no date: YYYY-MM-DD, YYYYMMDD or RFC 3339",
        ),
        (
            "customer,date,amount\na,20200101,dear\n",
            "20200101",
            "line 2, column 3 (amount): \"dear\" is no number",
        ),
        (
            "customer,date,amount\n,20200101,1\n",
            "20200101",
            "line 2, column 1 (customer): is empty",
        ),
        (
            "customer,date,amount\na,20200101,-1\n",
            "20200101",
            "t.csv: there is no purchase",
        ),
        (
            &shop().replace(",2.5\n", ",1e308\n"),
            "20200331",
            "until --calibration-end 20200331, a customer's mean spend is not between 1e-100 and 1e100",
        ),
        (
            FILE,
            "20191231",
            "until --calibration-end 20191231, there is no customer",
        ),
        (
            FILE,
            "20200105",
            "until --calibration-end 20200105, no customer bought again: there is no rhythm to learn",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let error = run(&args(&folder, file, end), None).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().ends_with(expected), "{error}");
    }
}

#[test]
fn forecasts_are_measured_beside_the_naive_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut asked = args(&folder, &shop(), "2020-03-31");
    let answer = run(&asked, None).unwrap();
    let row = &answer.rows[0];
    let number = |row: &Row, key: &str| row.get(key).unwrap().as_f64().unwrap();
    for key in [
        "r",
        "alpha",
        "a",
        "b",
        "gg_p",
        "gg_q",
        "gg_v",
        "holdout_mae",
        "naive_mae",
    ] {
        assert!(number(row, key) > 0.0, "{key}");
    }
    for key in ["holdout_mae", "naive_mae", "expected_mean"] {
        let (low, high) = (
            number(row, &format!("{key}_low")),
            number(row, &format!("{key}_high")),
        );
        assert!(low < number(row, key) && number(row, key) < high, "{key}");
    }
    assert_eq!(
        row.get("top_customers").unwrap().as_array().unwrap().len(),
        SHOWN
    );
    let stuck = answer.warnings.iter().any(|it| it.contains("ended before"));
    assert!(!stuck, "{:?}", answer.warnings);
    // Fewer are measured, as many are learned from.
    asked.common.limit = std::num::NonZeroUsize::new(7);
    let fewer = run(&asked, None).unwrap();
    assert_eq!(number(&fewer.rows[0], "r"), number(row, "r"));
    assert_eq!(fewer.rows[0].get("customers"), row.get("customers"));
    assert!(number(&fewer.rows[0], "test_rows") < number(row, "test_rows"));
}

#[test]
fn worth_without_a_bound_ranks_below_money() {
    let histories = [(3, 0.001), (0, 0.0)].map(|(frequency, mean_spend)| Customer {
        history: profile_domain::clv::History::new(frequency, f64::from(frequency), 20.0).unwrap(),
        mean_spend,
    });
    let people = histories.map(|customer| Person {
        name: format!("bought {}", customer.history.frequency()),
        customer,
        later: 0,
        later_rows: 0,
    });
    let folder = tempfile::tempdir().unwrap();
    let data = Data::read(&args(&folder, &shop(), "20200331")).unwrap();
    let known: Vec<Customer> = data.people.iter().map(|it| it.customer).collect();
    let mut model = ClvModel::fit(&known).unwrap();
    // Customers differ so much that the mean of all has no bound; the first is known to spend little.
    let spend = model.spend.as_mut().unwrap();
    spend.model = profile_domain::clv::GammaGamma::new(0.01, 0.99, 1e-6).unwrap();
    let found = foretell(&model, &people, 4.0);
    assert_eq!(found[1].1, None);
    assert!(found[0].1.unwrap() > 0.0);
    let names = |model: &ClvModel, found: &[(f64, Option<f64>)]| {
        let shown = top(model, &people, found);
        shown[0]["customer"].as_str().unwrap().to_owned()
    };
    assert_eq!(names(&model, &found), "bought 3");
    // Without a model of spend purchases rank, and every customer has them.
    model.spend = None;
    let found = foretell(&model, &people, 4.0);
    assert!(found.iter().all(|(bought, worth)| *worth == Some(*bought)));
}

#[test]
fn the_saved_model_is_the_one_that_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let asked = args(&folder, &shop(), "20200331");
    let file = folder.path().join("clv.model");
    let answer = run(&asked, Some(file.clone())).unwrap();
    let model = ClvModel::from_bytes(&std::fs::read(file).unwrap()).unwrap();
    let likelihood = answer.rows[0].get("log_likelihood").unwrap();
    assert_eq!(likelihood.as_f64(), Some(model.purchases.log_likelihood));
}

#[test]
fn nothing_held_out_and_nothing_spent_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let free = shop().replace(",2.5\n", ",0\n");
    let free: String = free
        .lines()
        .filter(|line| !line.contains(",1,"))
        .map(|line| format!("{line}\n"))
        .collect();
    let answer = run(&args(&folder, &free, "20201231"), None).unwrap();
    let row = &answer.rows[0];
    for key in [
        "holdout_mae",
        "naive_mae",
        "naive_mae_low",
        "gg_p",
        "frequency_spend_correlation",
    ] {
        assert_eq!(row.get(key), Some(&Value::Null), "{key}");
    }
    assert!(
        answer.warnings[0].contains("nothing follows --calibration-end"),
        "{:?}",
        answer.warnings
    );
    assert!(
        answer
            .warnings
            .iter()
            .any(|it| it.contains("there is no model of spend"))
    );
}
