//! Transactions of a file, folded into one history for each customer.

use std::collections::HashMap;

use profile_domain::clv::{Customer, History};

use crate::args::ClvArgs;
use crate::error::LabError;
use crate::reader::Table;
use crate::values;

/// Days of a week.
const WEEK: f64 = 7.0;
/// Most customers: their numbers must fit.
const CUSTOMERS_MAX: usize = u32::MAX as usize;

/// A customer who bought by the end of the calibration.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) customer: Customer,
    /// Purchases after the calibration.
    pub(super) later: u32,
    /// Rows that they stand in.
    pub(super) later_rows: usize,
}

/// The file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Data {
    pub(super) file: String,
    /// In the order in which the file names them first.
    pub(super) people: Vec<Person>,
    /// Purchase rows by the end of the calibration.
    pub(super) calibration_rows: usize,
    /// Customers who first bought after it: nothing is asked about them.
    pub(super) newcomers: usize,
    /// From the end of the calibration to the last day of the file; 0 if that is earlier.
    pub(super) held_out_weeks: f64,
    pub(super) warnings: Vec<String>,
}

/// One row with a purchase.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Purchase {
    customer: u32,
    day: i64,
    amount: f64,
}

/// Returns the last day that the model may learn from, in days since 1970.
pub(super) fn calibration_end(args: &ClvArgs) -> Result<i64, LabError> {
    values::day(args.calibration_end.trim()).ok_or_else(|| {
        LabError::input(format!(
            "--calibration-end {}: is no date; write YYYY-MM-DD or YYYYMMDD",
            args.calibration_end
        ))
    })
}

impl Data {
    /// Reads the file. Purchases of one day are one, of the sum of their amounts. Rows whose amount or
    /// quantity is below 0 are returns, no purchases: they are left out and counted; one of 0 is a
    /// purchase that cost nothing.
    pub(super) fn read(args: &ClvArgs) -> Result<Self, LabError> {
        let end = calibration_end(args)?;
        let mut rows = Rows::read(args)?;
        if rows.purchases.is_empty() {
            let why = "there is no purchase";
            return Err(LabError::input(format!("{}: {why}", rows.file)));
        }
        // Rows of a customer's day keep the order of the file, and so does the sum of their amounts.
        rows.purchases.sort_by_key(|row| (row.customer, row.day));
        let mut names = std::mem::take(&mut rows.names).into_iter();
        let (mut people, mut newcomers) = (Vec::new(), 0);
        for group in rows.purchases.chunk_by(|a, b| a.customer == b.customer) {
            // Numbers are given at a customer's first purchase: every name has a group, in this order.
            let name = names.next().unwrap_or_default();
            match fold(name, group, end) {
                Ok(Some(person)) => people.push(person),
                Ok(None) => newcomers += 1,
                Err(why) => return Err(LabError::input(format!("{}: {why}", rows.file))),
            }
        }
        let known = rows.purchases.iter().filter(|row| row.day <= end).count();
        let warnings = rows.warnings(end);
        Ok(Self {
            file: rows.file,
            people,
            calibration_rows: known,
            newcomers,
            held_out_weeks: rows.last_day.saturating_sub(end).max(0) as f64 / WEEK,
            warnings,
        })
    }
}

/// Returns what is known of a customer whose rows are sorted by day; `None` for one who came later.
fn fold(name: String, rows: &[Purchase], end: i64) -> Result<Option<Person>, String> {
    let by_day = rows.chunk_by(|a, b| a.day == b.day);
    let days: Vec<(i64, f64)> = by_day
        .map(|rows| (rows[0].day, rows.iter().map(|row| row.amount).sum()))
        .collect();
    let known = days.partition_point(|(day, _)| *day <= end);
    if known == 0 {
        return Ok(None);
    }
    let numbers: Vec<i64> = days.iter().map(|(day, _)| *day).collect();
    let history = History::of_days(&numbers, end)
        .ok_or_else(|| format!("customer {name:?}: the days of purchase lie too far apart"))?;
    let repeats = &days[1..known];
    let spent: f64 = repeats.iter().map(|(_, amount)| amount).sum();
    let mean_spend = if repeats.is_empty() {
        0.0
    } else {
        spent / repeats.len() as f64
    };
    Ok(Some(Person {
        name,
        customer: Customer {
            history,
            mean_spend,
        },
        later: (days.len() - known) as u32,
        later_rows: rows.iter().filter(|row| row.day > end).count(),
    }))
}

/// The file, read and not yet folded.
#[derive(Debug)]
struct Rows {
    file: String,
    /// Customers by number.
    names: Vec<String>,
    purchases: Vec<Purchase>,
    returns: usize,
    /// Last day with any row: how far the file knows.
    last_day: i64,
}

impl Rows {
    fn read(args: &ClvArgs) -> Result<Self, LabError> {
        let mut table = Table::open(&args.transactions)?;
        let columns = Columns::of(&table)?;
        let mut rows = Self {
            file: args.transactions.display().to_string(),
            names: Vec::new(),
            purchases: Vec::new(),
            returns: 0,
            last_day: i64::MIN,
        };
        let mut numbers: HashMap<String, u32> = HashMap::new();
        while table.advance()? {
            let date = table.required(columns.date)?;
            let day = values::day(date).ok_or_else(|| {
                let why = format!("{date:?} is no date: YYYY-MM-DD, YYYYMMDD or RFC 3339");
                table.bad(columns.date, &why)
            })?;
            let amount = table.number(columns.amount)?;
            let quantity = columns.quantity.map(|column| table.number(column));
            let quantity = quantity.transpose()?.unwrap_or(1.0);
            rows.last_day = rows.last_day.max(day);
            let name = table.required(columns.customer)?;
            if amount < 0.0 || quantity < 0.0 {
                rows.returns += 1;
                continue;
            }
            let customer = match numbers.get(name) {
                Some(known) => *known,
                None if rows.names.len() == CUSTOMERS_MAX => {
                    return Err(table.bad_file("there are too many customers"));
                }
                None => {
                    let next = rows.names.len() as u32;
                    numbers.insert(name.to_owned(), next);
                    rows.names.push(name.to_owned());
                    next
                }
            };
            rows.purchases.push(Purchase {
                customer,
                day,
                amount,
            });
        }
        Ok(rows)
    }

    fn warnings(&self, end: i64) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.returns > 0 {
            warnings.push(format!(
                "{}: {} row(s) below 0 are returns and left out",
                self.file, self.returns
            ));
        }
        if self.last_day <= end {
            warnings.push(format!(
                "{}: nothing follows --calibration-end, so nothing is held out to measure by",
                self.file
            ));
        }
        warnings
    }
}

/// Where the columns stand.
#[derive(Debug, Clone, Copy)]
struct Columns {
    customer: usize,
    date: usize,
    quantity: Option<usize>,
    amount: usize,
}

impl Columns {
    /// By name if `customer` and `date` are there, the amount being the last column unless one has its
    /// name; else all by place: customer, date, the quantity where there are four and more, and the
    /// amount last.
    fn of(table: &Table) -> Result<Self, LabError> {
        let last = table.columns() - 1;
        if last < 2 {
            // Says which columns are needed.
            table.fixed(&["customer", "date", "amount"], &[])?;
        }
        let named = |name| table.named(name).ok();
        let (Some(customer), Some(date)) = (named("customer"), named("date")) else {
            return Ok(Self {
                customer: 0,
                date: 1,
                quantity: (last > 2).then_some(2),
                amount: last,
            });
        };
        let (quantity, amount) = (named("quantity"), named("amount").unwrap_or(last));
        if amount == customer || amount == date || Some(amount) == quantity {
            return Err(table.bad_file("there is no column amount, and the last is another"));
        }
        Ok(Self {
            customer,
            date,
            quantity,
            amount,
        })
    }
}
