//! Numbers and text as people read them.

use rapport_types::Micros;

use super::Language;

/// Characters of a label in a chart; a longer one ends in an ellipsis and is whole in its tooltip.
const LABEL_WIDTH_MAX: usize = 26;

/// Escapes text for HTML and XML, in content and in attributes. Characters that XML forbids
/// become U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' | '\r' => safe.push(' '),
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            _ => safe.push(character),
        }
    }
    safe
}

/// Shortens a label to what a chart has room for; a wide (CJK) character takes the room of two.
pub(super) fn label(text: &str) -> String {
    let mut room = LABEL_WIDTH_MAX;
    for (at, character) in text.char_indices() {
        let width = if character >= '\u{2e80}' { 2 } else { 1 };
        if width > room {
            return format!("{}…", text[..at].trim_end());
        }
        room -= width;
    }
    text.to_owned()
}

/// Prints a whole number with a comma every three digits.
pub(super) fn whole(value: u64) -> String {
    group(&value.to_string())
}

/// Prints a number with the decimals asked for and a comma every three digits.
pub(super) fn decimal(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (integer, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let zero = text.chars().all(|c| c == '0' || c == '.');
    let sign = if value < 0.0 && !zero { "−" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{fraction}", group(integer))
}

/// Prints a share as a percentage; two decimals below 10 %, one above.
pub(super) fn percent(share: f64) -> String {
    let hundredths = share * 100.0;
    format!(
        "{}%",
        decimal(hundredths, if hundredths.abs() < 10.0 { 2 } else { 1 })
    )
}

/// Prints a change as a signed percentage.
pub(super) fn change(share: f64) -> String {
    let text = percent(share);
    if share > 0.0 {
        format!("+{text}")
    } else {
        text
    }
}

/// Prints money, rounded to a whole unit from 1,000 up.
pub(super) fn money(amount: Micros, currency: &str) -> String {
    let units = amount.to_units_f64();
    format!(
        "{currency} {}",
        decimal(units, if units.abs() < 1_000.0 { 2 } else { 0 })
    )
}

/// Prints a number short enough for an axis: `1.2k`, `3.4M`; in Chinese by ten thousands, `1.2万`.
pub(super) fn compact(value: f64, language: Language) -> String {
    let scales: &[(f64, &str)] = match language {
        Language::English => &[(1e9, "bn"), (1e6, "M"), (1e3, "k")],
        Language::Chinese => &[(1e8, "亿"), (1e4, "万")],
    };
    let fitting = scales.iter().find(|(scale, _)| value.abs() >= *scale);
    let (scaled, unit) = fitting.map_or((value, ""), |(scale, unit)| (value / scale, *unit));
    let decimals = if (scaled - scaled.round()).abs() < 1e-9 {
        0
    } else {
        1
    };
    format!("{}{unit}", decimal(scaled, decimals))
}

/// Prints a p-value: never "0", which it cannot be.
pub(super) fn p_value(p: f64) -> String {
    if p < 0.0001 {
        "< 0.0001".to_owned()
    } else {
        decimal(p, 4)
    }
}

/// Prints a mean or an effect with four significant digits, more or less.
pub(super) fn measure(value: f64) -> String {
    let size = value.abs();
    let decimals = if size >= 1_000.0 || size == 0.0 {
        0
    } else if size >= 10.0 {
        2
    } else if size >= 0.1 {
        4
    } else {
        6
    };
    decimal(value, decimals)
}

fn group(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
