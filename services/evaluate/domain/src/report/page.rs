//! The page around the charts: head, key figures, sections, tables.

use rapport_types::Micros;

use super::bars::{self, Credits};
use super::charts::{self, Series, tone};
use super::format::{change, decimal, escape, measure, money, p_value, percent, whole};
use super::words::Words;
use super::{CampaignRow, ExperimentRow, Language, REPORT_DAYS_MAX, REPORT_ROWS_MAX, Report};
use crate::campaign::Rate;
use crate::experiment::Verdict;

/// What stands for an undefined number.
const UNDEFINED: &str = "–";
/// Millionths in one whole.
const PPM: f64 = 1e6;

pub(super) fn render(report: &Report, words: &Words, language: Language) -> String {
    let sections = [
        key_figures(report, words),
        missing(report.decisions_missing, words),
        trend(report, words, language),
        experiments(report, words),
        funnel(report, words),
        campaigns(report, words),
        attribution(report, words, language),
    ];
    let (first, last) = report.period;
    let days = i64::from(last.0) - i64::from(first.0) + 1;
    format!(
        "<!DOCTYPE html>\n<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{shop} · {kicker}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n\
         <header><p class=\"kicker\">{kicker}</p><h1>{shop}</h1>\
         <p class=\"period\">{first} {to} {last} · {days} {word}</p></header>\n\
         {sections}<footer>{method}</footer>\n</main>\n</body>\n</html>\n",
        lang = words.html_lang,
        shop = escape(&report.shop),
        kicker = words.kicker,
        style = include_str!("style.css"),
        to = words.period_to,
        word = words.days,
        sections = sections.concat(),
        method = words.method,
    )
}

fn key_figures(report: &Report, words: &Words) -> String {
    let revenue: Micros = report.daily.iter().map(|day| day.revenue).sum();
    let orders: u64 = report.daily.iter().map(|day| day.orders).sum();
    let active = report.active;
    let costs = report.campaigns.iter();
    let cost: i128 = costs.map(|row| i128::from(row.report.totals.cost.0)).sum();
    let roas = if cost > 0 {
        times(report.ad_revenue.0 as f64 / cost as f64)
    } else {
        UNDEFINED.to_owned()
    };
    let shown = shown_experiments(report);
    let decided = shown
        .iter()
        .filter(|row| matches!(row.analysis.verdict, Verdict::Increase | Verdict::Decrease))
        .count();
    let stickiness = active.stickiness().map_or(UNDEFINED.to_owned(), percent);
    let [today, week, sticky] = words.active_note;
    let people = format!(
        "{today} {} · {week} {} · {sticky} {stickiness}",
        whole(active.daily),
        whole(active.weekly),
    );
    [
        "<div class=\"kpis\">".to_owned(),
        kpi(
            words.revenue,
            &money(revenue, &report.currency),
            &format!("{} {}", whole(orders), words.orders),
        ),
        kpi(words.active_month, &whole(active.monthly), &people),
        kpi(words.roas, &roas, words.roas_note),
        kpi(
            words.decided,
            &format!("{decided} / {}", shown.len()),
            words.decided_note,
        ),
        "</div>\n".to_owned(),
    ]
    .concat()
}

fn kpi(name: &str, value: &str, note: &str) -> String {
    format!(
        "<div class=\"kpi\"><p>{name}</p><p class=\"value\">{}</p><p>{note}</p></div>",
        escape(value)
    )
}

fn missing(decisions: u64, words: &Words) -> String {
    if decisions == 0 {
        return String::new();
    }
    format!(
        "<p class=\"alert\" role=\"status\">{} {}</p>\n",
        whole(decisions),
        words.missing
    )
}

fn trend(report: &Report, words: &Words, language: Language) -> String {
    let days = &report.daily[report.daily.len().saturating_sub(REPORT_DAYS_MAX)..];
    if days.is_empty() {
        return section(words.trend, words.trend_note, &nothing(words));
    }
    let currency = Some(report.currency.as_str());
    let revenue = Series {
        id: "revenue",
        title: words.daily_revenue,
        tone: "a",
        currency,
    };
    let people = Series {
        id: "people",
        title: words.active_people,
        tone: "b",
        currency: None,
    };
    let charts = format!(
        "<div class=\"pair\"><div><h3>{} ({})</h3>{}</div><div><h3>{}</h3>{}</div></div>",
        words.daily_revenue,
        escape(&report.currency),
        charts::line(&revenue, days, |day| day.revenue.to_units_f64(), language),
        words.active_people,
        charts::line(&people, days, |day| day.active_people as f64, language),
    );
    let rows = days.iter().map(|day| {
        vec![
            day.day.to_string(),
            escape(&money(day.revenue, &report.currency)),
            whole(day.orders),
            whole(day.active_people),
        ]
    });
    let columns = [words.day, words.revenue, words.orders, words.active_people];
    section(
        words.trend,
        words.trend_note,
        &(charts + &numbers(&columns, rows, words)),
    )
}

fn shown_experiments(report: &Report) -> &[ExperimentRow] {
    &report.experiments[..report.experiments.len().min(REPORT_ROWS_MAX)]
}

fn experiments(report: &Report, words: &Words) -> String {
    let rows = shown_experiments(report);
    if rows.is_empty() {
        return section(words.effects, words.effects_note, &nothing(words));
    }
    let truth_known = rows.iter().any(|row| row.truth.is_some());
    let mut columns = words.experiment_columns.to_vec();
    let mut key = format!(
        "<ul class=\"key\"><li><i></i>{}</li><li><i class=\"pale\"></i>{}</li>",
        words.key_interval, words.key_sequential
    );
    if truth_known {
        columns.insert(6, words.truth_column);
        key += &format!("<li><i class=\"diamond\"></i>{}</li>", words.truth);
    }
    key += "</ul>";
    let chart = charts::effects(rows, words).map_or(String::new(), |svg| key + &wide(&svg));
    let cells = rows
        .iter()
        .map(|row| experiment_cells(row, truth_known, words));
    section(
        words.effects,
        words.effects_note,
        &(chart + &table(&columns, cells)),
    )
}

fn experiment_cells(row: &ExperimentRow, truth_known: bool, words: &Words) -> Vec<String> {
    let analysis = &row.analysis;
    let cell = |text: Option<String>| text.unwrap_or_else(|| UNDEFINED.to_owned());
    let effect = analysis.estimate.map(|found| {
        let relative = found
            .relative_effect
            .map_or(String::new(), |share| format!(" ({})", change(share)));
        format!(
            "{}{relative}<small>{} … {}</small>",
            measure(found.effect),
            measure(found.interval.low),
            measure(found.interval.high)
        )
    });
    let why: Vec<&str> = analysis
        .warnings
        .iter()
        .map(|warning| words.warning(*warning))
        .collect();
    let verdict = format!(
        "<span class=\"pill pill-{}\">{}</span><small class=\"why\">{}</small>",
        tone(analysis.verdict),
        words.verdict(analysis.verdict),
        why.join("; ")
    );
    let mut cells = vec![
        format!(
            "{}<small>{}</small>",
            escape(&row.experiment),
            escape(&analysis.variant)
        ),
        escape(&row.metric),
        format!("{} / {}", whole(row.people.0), whole(row.people.1)),
        cell(analysis.estimate.map(|found| measure(found.control_mean))),
        cell(analysis.estimate.map(|found| measure(found.treated_mean))),
        cell(effect),
    ];
    if truth_known {
        cells.push(cell(row.truth.map(measure)));
    }
    cells.push(cell(
        analysis.estimate.map(|found| escape(&p_value(found.p))),
    ));
    cells.push(verdict);
    cells
}

fn funnel(report: &Report, words: &Words) -> String {
    let steps = &report.funnel[..report.funnel.len().min(REPORT_ROWS_MAX)];
    if steps.is_empty() {
        return section(words.funnel, words.funnel_note, &nothing(words));
    }
    let rows = steps.iter().enumerate().map(|(place, step)| {
        vec![
            escape(words.step(&step.name)),
            whole(step.people),
            bars::kept(steps, place).map_or(UNDEFINED.to_owned(), percent),
        ]
    });
    let body = wide(&bars::funnel(steps, words)) + &numbers(&words.funnel_columns, rows, words);
    section(words.funnel, words.funnel_note, &body)
}

fn campaigns(report: &Report, words: &Words) -> String {
    let rows = &report.campaigns[..report.campaigns.len().min(REPORT_ROWS_MAX)];
    if rows.is_empty() {
        return section(words.campaigns, words.campaigns_note, &nothing(words));
    }
    let rate = |rate: Option<Rate>| {
        rate.map_or(UNDEFINED.to_owned(), |rate| {
            let (low, high) = (percent(rate.interval.low), percent(rate.interval.high));
            format!("{}<small>{low} … {high}</small>", percent(rate.value))
        })
    };
    let cells = rows.iter().map(
        |CampaignRow {
             name,
             report: found,
         }| {
            let ratio = |ppm: Option<i64>, shown: fn(f64) -> String| {
                ppm.map_or(UNDEFINED.to_owned(), |ppm| shown(ppm as f64 / PPM))
            };
            vec![
                escape(name),
                whole(found.people_reached),
                whole(found.totals.impressions),
                whole(found.totals.clicks),
                rate(found.ctr),
                rate(found.cvr),
                escape(&money(found.totals.cost, &report.currency)),
                escape(&money(found.totals.revenue, &report.currency)),
                ratio(found.roas_ppm, times),
                ratio(found.roi_ppm, change),
            ]
        },
    );
    section(
        words.campaigns,
        words.campaigns_note,
        &table(&words.campaign_columns, cells),
    )
}

fn attribution(report: &Report, words: &Words, language: Language) -> String {
    let rows = &report.attribution[..report
        .attribution
        .len()
        .min(crate::attribution::Model::ALL.len())];
    let shown = Credits::of(rows, words);
    if shown.channels.is_empty() {
        let why = match report.attribution_refused {
            true => note(words.too_many),
            false => nothing(words),
        };
        return section(words.attribution, words.attribution_note, &why);
    }
    let mut columns = vec![words.channel];
    columns.extend(rows.iter().map(|row| words.model(row.model)));
    let cells = shown
        .channels
        .iter()
        .zip(&shown.credit)
        .map(|(channel, credit)| {
            let values = credit.iter().map(|value| decimal(*value, 1));
            std::iter::once(escape(channel)).chain(values).collect()
        });
    let body =
        wide(&bars::credits(rows, &shown, words, language)) + &numbers(&columns, cells, words);
    section(words.attribution, words.attribution_note, &body)
}

fn times(ratio: f64) -> String {
    format!("{}×", decimal(ratio, 2))
}

/// Lets a drawing too wide for a phone scroll in its frame instead of shrinking out of sight.
fn wide(svg: &str) -> String {
    format!("<div class=\"scroll wide\">{svg}</div>")
}

fn nothing(words: &Words) -> String {
    note(words.nothing)
}

fn note(text: &str) -> String {
    format!("<p class=\"note\">{text}</p>")
}

fn section(title: &str, note: &str, body: &str) -> String {
    format!("<section><h2>{title}</h2><p class=\"note\">{note}</p>{body}</section>\n")
}

/// A table folded away under its chart.
fn numbers(columns: &[&str], rows: impl Iterator<Item = Vec<String>>, words: &Words) -> String {
    format!(
        "<details><summary>{}</summary>{}</details>",
        words.numbers,
        table(columns, rows)
    )
}

/// Cells are HTML: whoever makes them escapes what came from outside.
fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head: String = columns
        .iter()
        .map(|column| format!("<th scope=\"col\">{column}</th>"))
        .collect();
    let cells = |row: Vec<String>| -> String {
        row.into_iter()
            .map(|cell| format!("<td>{cell}</td>"))
            .collect()
    };
    let body: String = rows.map(|row| format!("<tr>{}</tr>", cells(row))).collect();
    format!(
        "<div class=\"scroll\"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
}
