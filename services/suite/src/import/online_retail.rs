//! The Online Retail invoices: what a line with which sign is.

use profile_domain::IDENTIFIER_CHARS_MAX;
use rapport_api::event::v1::{LedgerAdjustment, OrderLine, Purchase, Refund, StockAdjustment};
use rapport_api::profile::v1::{Identifier, IdentifierKind};
use recommend_domain::{ITEM_ID_CHARS_MAX, TITLE_CHARS_MAX, is_item_id};

use super::source::{BadLine, Item, Line, Mapper};
use super::values::{any, at_most, date_time, decimal_micros, whole};

/// Prices in the file are pounds.
const CURRENCY: &str = "GBP";

/// The format.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnlineRetail;

impl Mapper for OnlineRetail {
    fn columns(&self) -> Vec<String> {
        let names = [
            "invoice",
            "item",
            "description",
            "quantity",
            "timestamp",
            "unit_price",
            "customer",
        ];
        names.map(str::to_owned).to_vec()
    }

    fn map(&self, fields: &[&str], _: u64) -> Result<Line, BadLine> {
        let at = |column: usize| move |why: String| BadLine { column, why };
        let [
            invoice,
            item,
            description,
            quantity,
            timestamp,
            unit_price,
            customer,
        ] = fields
        else {
            return Err(BadLine {
                column: 0,
                why: "has the wrong number of columns".to_owned(),
            });
        };
        if invoice.is_empty() {
            return Err(at(1)("is empty".to_owned()));
        }
        at_most(invoice, IDENTIFIER_CHARS_MAX).map_err(at(1))?;
        if !is_item_id(item) {
            return Err(at(2)(format!(
                "must have 1 to {ITEM_ID_CHARS_MAX} characters and no control characters"
            )));
        }
        let title = description.trim();
        at_most(title, TITLE_CHARS_MAX).map_err(at(3))?;
        if title.contains(char::is_control) {
            return Err(at(3)("holds a control character".to_owned()));
        }
        let quantity = whole(quantity).map_err(at(4))?;
        let occurred_at_ms = date_time(timestamp).map_err(at(5))?;
        let price = decimal_micros(unit_price).map_err(at(6))?;
        let identifier = identify(invoice, customer).map_err(at(7))?;
        let payload = payload(invoice, item, quantity, price);
        let sold = quantity > 0 && price > 0 && !title.is_empty();
        Ok(Line {
            identifier: Some(identifier),
            occurred_at_ms,
            payload,
            item: sold.then(|| Item {
                item_id: (*item).to_owned(),
                title: title.to_owned(),
                price_micros: price,
                currency: CURRENCY.to_owned(),
            }),
        })
    }
}

/// A customer's number was once a float: `17850.0` is 17850. Without one, the invoice is the subject.
fn identify(invoice: &str, customer: &str) -> Result<Identifier, String> {
    if customer.is_empty() {
        let kind = IdentifierKind::Invoice as i32;
        return Ok(Identifier {
            kind,
            value: invoice.to_owned(),
        });
    }
    at_most(customer, IDENTIFIER_CHARS_MAX)?;
    let number = customer.strip_suffix(".0").unwrap_or(customer);
    if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(format!("`{customer}` is not a customer number"));
    }
    Ok(Identifier {
        kind: IdentifierKind::Login as i32,
        value: number.to_owned(),
    })
}

fn payload(invoice: &str, item: &str, quantity: i64, price: i64) -> prost_types::Any {
    let line = |quantity: i64| OrderLine {
        item_id: item.to_owned(),
        quantity,
        unit_price_micros: price,
        category: String::new(),
    };
    let (order_id, currency) = (invoice.to_owned(), CURRENCY.to_owned());
    if price < 0 {
        let amount_micros = price.saturating_mul(quantity);
        any(&LedgerAdjustment {
            amount_micros,
            currency,
            reference: order_id,
        })
    } else if quantity < 0 && price == 0 {
        any(&StockAdjustment {
            item_id: item.to_owned(),
            quantity,
            reference: order_id,
        })
    } else if quantity < 0 {
        any(&Refund {
            order_id,
            lines: vec![line(quantity.saturating_neg())],
            currency,
        })
    } else {
        any(&Purchase {
            order_id,
            lines: vec![line(quantity)],
            currency,
            ..Purchase::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: [&str; 7]) -> Result<Line, BadLine> {
        OnlineRetail.map(&fields, 1)
    }

    fn type_of(quantity: &str, price: &str) -> String {
        let line = map([
            "5",
            "A",
            "TEA",
            quantity,
            "2010-12-01 08:26:00",
            price,
            "17850.0",
        ])
        .unwrap();
        line.payload.type_url.rsplit('.').next().unwrap().to_owned()
    }

    #[test]
    fn signs_decide_what_a_line_is() {
        assert_eq!(type_of("6", "2.55"), "Purchase");
        assert_eq!(type_of("6", "0.0"), "Purchase");
        assert_eq!(type_of("-6", "2.55"), "Refund");
        assert_eq!(type_of("-6", "0.0"), "StockAdjustment");
        assert_eq!(type_of("1", "-11062.06"), "LedgerAdjustment");
    }

    #[test]
    fn people_are_customers_or_else_invoices() {
        let line = map(["5", "A", "TEA", "1", "2010-12-01 08:26:00", "1", "17850.0"]).unwrap();
        assert_eq!(line.identifier.unwrap().value, "17850");
        assert_eq!(line.occurred_at_ms, 1_291_191_960_000);
        let line = map(["C5", "A", "TEA", "1", "2010-12-01 08:26:00", "1", ""]).unwrap();
        let identifier = line.identifier.unwrap();
        assert_eq!(
            (identifier.kind(), identifier.value.as_str()),
            (IdentifierKind::Invoice, "C5")
        );
    }

    #[test]
    fn the_column_that_is_wrong_is_named() {
        let good = ["5", "A", "TEA", "1", "2010-12-01 08:26:00", "1", "17850.0"];
        let (long, longer) = ("1".repeat(300), "a".repeat(65));
        for (column, bad) in [
            (1, ""),
            (1, &long),
            (2, ""),
            (2, &longer),
            (3, &long),
            (3, "T\tEA"),
            (7, &long),
            (4, "six"),
            (5, "yesterday"),
            (6, "1,2"),
            (7, "x"),
        ] {
            let mut fields = good;
            fields[column - 1] = bad;
            assert_eq!(map(fields).unwrap_err().column, column);
        }
    }
}
