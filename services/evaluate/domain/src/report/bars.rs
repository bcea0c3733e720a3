//! Charts of parts: the funnel, and the credit of channels by model.

use super::format::{compact, decimal, label, percent, whole};
use super::svg::{Anchor, Axis, Svg};
use super::words::Words;
use super::{CreditRow, FunnelStep, Language, REPORT_CHANNELS_MAX};

/// Draws one bar per step, its length the people who got that far.
pub(super) fn funnel(steps: &[FunnelStep], words: &Words) -> String {
    const WIDTH: f64 = 1_140.0;
    const LEFT: f64 = 180.0;
    const FULL: f64 = 700.0;
    const ROW: f64 = 44.0;
    let most = steps
        .iter()
        .map(|step| step.people)
        .max()
        .unwrap_or(0)
        .max(1) as f64;
    let height = ROW * steps.len() as f64 + 8.0;
    let mut svg = Svg::new("funnel", words.funnel, words.funnel_note, WIDTH, height);
    for (place, step) in steps.iter().enumerate() {
        let y = 4.0 + ROW * place as f64;
        let name = words.step(&step.name);
        let length = (FULL * step.people as f64 / most).max(2.0);
        let tooltip = format!("{name}: {}", whole(step.people));
        svg.text((LEFT - 16.0, y + 25.0), Anchor::End, "name", &label(name));
        svg.bar((LEFT, y + 4.0), (FULL, ROW - 12.0), "track", name);
        svg.bar((LEFT, y + 4.0), (length, ROW - 12.0), "fill-a", &tooltip);
        svg.text(
            (LEFT + FULL + 18.0, y + 25.0),
            Anchor::Start,
            "name",
            &whole(step.people),
        );
        if let Some(share) = kept(steps, place) {
            let text = format!("{} {}", percent(share), words.of_previous);
            svg.text(
                (LEFT + FULL + 110.0, y + 25.0),
                Anchor::Start,
                "tick",
                &text,
            );
        }
    }
    svg.finish()
}

/// Returns the share of the step before that got this far; `None` for the first, or after nobody.
pub(super) fn kept(steps: &[FunnelStep], place: usize) -> Option<f64> {
    let before = steps.get(place.checked_sub(1)?)?.people;
    (before > 0).then(|| steps[place].people as f64 / before as f64)
}

/// Credit by channel and model, the greatest channels apart and the rest as one.
pub(super) struct Credits {
    /// Names to show, with the mean credit descending; the last may be "other".
    pub channels: Vec<String>,
    /// Credit, shape `[channels][models]`.
    pub credit: Vec<Vec<f64>>,
}

impl Credits {
    /// Ranks channels by credit over all models, equal ones by name.
    pub(super) fn of(rows: &[CreditRow], words: &Words) -> Self {
        let mut names: Vec<&String> = rows.iter().flat_map(|row| row.credit.keys()).collect();
        names.sort();
        names.dedup();
        let of = |name: &String| -> Vec<f64> {
            rows.iter()
                .map(|row| row.credit.get(name).copied().unwrap_or(0.0))
                .collect()
        };
        let mut ranked: Vec<(&String, Vec<f64>)> =
            names.into_iter().map(|name| (name, of(name))).collect();
        let total = |credit: &[f64]| credit.iter().sum::<f64>();
        ranked.sort_by(|a, b| total(&b.1).total_cmp(&total(&a.1)).then(a.0.cmp(b.0)));
        let rest = ranked.split_off(ranked.len().min(REPORT_CHANNELS_MAX));
        let (mut channels, mut credit): (Vec<String>, Vec<Vec<f64>>) = ranked
            .into_iter()
            .map(|(name, values)| (name.clone(), values))
            .unzip();
        if !rest.is_empty() {
            let sum = |model: usize| rest.iter().map(|(_, values)| values[model]).sum();
            channels.push(words.other.to_owned());
            credit.push((0..rows.len()).map(sum).collect());
        }
        Self { channels, credit }
    }
}

/// Draws a group of bars per channel, one bar per model.
pub(super) fn credits(
    rows: &[CreditRow],
    shown: &Credits,
    words: &Words,
    language: Language,
) -> String {
    const WIDTH: f64 = 1_140.0;
    const LEFT: f64 = 60.0;
    const RIGHT: f64 = 1_128.0;
    const TOP: f64 = 44.0;
    const BOTTOM: f64 = 300.0;
    let high = shown
        .credit
        .iter()
        .flatten()
        .fold(0.0f64, |high, value| high.max(*value));
    let axis = Axis::covering(0.0, high, 4);
    let mut svg = Svg::new(
        "credit",
        words.attribution,
        words.attribution_note,
        WIDTH,
        334.0,
    );
    legend(&mut svg, rows, words, LEFT);
    for &tick in &axis.ticks {
        let y = axis.place(tick, BOTTOM, TOP);
        svg.line(
            (LEFT, y),
            (RIGHT, y),
            if tick == 0.0 { "base" } else { "grid" },
        );
        svg.text(
            (LEFT - 10.0, y + 4.0),
            Anchor::End,
            "tick",
            &compact(tick, language),
        );
    }
    let group = (RIGHT - LEFT) / shown.channels.len().max(1) as f64;
    let bar = (group * 0.76 / rows.len().max(1) as f64).min(34.0);
    for (place, (channel, credit)) in shown.channels.iter().zip(&shown.credit).enumerate() {
        let middle = LEFT + group * (place as f64 + 0.5);
        let start = middle - bar * credit.len() as f64 / 2.0;
        for (model, (row, value)) in rows.iter().zip(credit).enumerate() {
            let y = axis.place(value.max(0.0), BOTTOM, TOP);
            let tooltip = format!(
                "{channel} · {}: {}",
                words.model(row.model),
                decimal(*value, 1)
            );
            let at = (start + bar * model as f64 + 1.0, y);
            svg.bar(
                at,
                (bar - 2.0, BOTTOM - y),
                &format!("series-{model}"),
                &tooltip,
            );
        }
        svg.text(
            (middle, BOTTOM + 22.0),
            Anchor::Middle,
            "name",
            &label(channel),
        );
    }
    svg.finish()
}

fn legend(svg: &mut Svg, rows: &[CreditRow], words: &Words, left: f64) {
    let mut x = left;
    for (model, row) in rows.iter().enumerate() {
        let name = words.model(row.model);
        svg.bar((x, 8.0), (12.0, 12.0), &format!("series-{model}"), name);
        svg.text((x + 19.0, 18.5), Anchor::Start, "tick", name);
        let wide = name
            .chars()
            .map(|c| if c >= '\u{2e80}' { 13.5 } else { 7.2 })
            .sum::<f64>();
        x += 19.0 + wide + 26.0;
    }
}
