//! Charts of numbers over time and of effects with their intervals.

use super::format::{change, compact, label, money, percent, whole};
use super::svg::{Anchor, Axis, Svg};
use super::words::Words;
use super::{DailyPoint, ExperimentRow, Language};
use crate::experiment::Verdict;

/// Most dates written under a line.
const DATES_MAX: usize = 6;

/// What a line chart shows.
pub(super) struct Series<'a> {
    pub id: &'a str,
    pub title: &'a str,
    /// Class of the line, without its prefix: `a` or `b`.
    pub tone: &'a str,
    /// The currency of the values, or `None` for people.
    pub currency: Option<&'a str>,
}

/// Draws one value per day as a line over a soft area.
pub(super) fn line(
    series: &Series<'_>,
    days: &[DailyPoint],
    value: fn(&DailyPoint) -> f64,
    language: Language,
) -> String {
    const SIZE: (f64, f64) = (560.0, 250.0);
    const LEFT: f64 = 52.0;
    const RIGHT: f64 = 548.0;
    const TOP: f64 = 14.0;
    const BOTTOM: f64 = 216.0;
    let values: Vec<f64> = days.iter().map(value).collect();
    let (low, high) = values.iter().fold((0.0f64, 0.0f64), |(low, high), v| {
        (low.min(*v), high.max(*v))
    });
    let axis = Axis::covering(low, high, 4);
    let described = describe(days, series.title, high, language);
    let mut svg = Svg::new(series.id, series.title, &described, SIZE.0, SIZE.1);
    for &tick in &axis.ticks {
        let y = axis.place(tick, BOTTOM, TOP);
        svg.line(
            (LEFT, y),
            (RIGHT, y),
            if tick == 0.0 { "base" } else { "grid" },
        );
        svg.text(
            (LEFT - 8.0, y + 4.0),
            Anchor::End,
            "tick",
            &compact(tick, language),
        );
    }
    let step = (RIGHT - LEFT) / (days.len().max(2) - 1) as f64;
    let points: Vec<(f64, f64)> = values
        .iter()
        .enumerate()
        .map(|(place, v)| (LEFT + place as f64 * step, axis.place(*v, BOTTOM, TOP)))
        .collect();
    svg.area(
        &points,
        axis.place(0.0, BOTTOM, TOP),
        &format!("area-{}", series.tone),
    );
    svg.polyline(&points, &format!("line-{}", series.tone));
    for (day, point) in days.iter().zip(&points) {
        let shown = match series.currency {
            Some(currency) => money(day.revenue, currency),
            None => whole(day.active_people),
        };
        svg.dot(*point, 6.0, "hover", &format!("{} · {shown}", day.day));
    }
    if let Some(last) = points.last() {
        svg.dot(*last, 3.5, &format!("dot-{}", series.tone), series.title);
    }
    dates(&mut svg, days, &points, BOTTOM + 20.0);
    svg.finish()
}

/// Writes a handful of dates under their points, inside the ends of the line.
fn dates(svg: &mut Svg, days: &[DailyPoint], points: &[(f64, f64)], y: f64) {
    const ROOM: f64 = 12.0;
    let left = points.first().map_or(0.0, |point| point.0);
    let right = points.last().map_or(0.0, |point| point.0);
    let every = days.len().div_ceil(DATES_MAX).max(1);
    for (day, (x, _)) in days.iter().zip(points).step_by(every) {
        let text = day.day.to_string();
        // Without the year: the period stands at the head of the page. Years apart keep it.
        let shown = if days.len() > 366 {
            &text[..7]
        } else {
            &text[5..]
        };
        let anchor = if x - left < ROOM {
            Anchor::Start
        } else if right - x < ROOM {
            Anchor::End
        } else {
            Anchor::Middle
        };
        svg.text((*x, y), anchor, "tick", shown);
    }
}

fn describe(days: &[DailyPoint], title: &str, high: f64, language: Language) -> String {
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return title.to_owned();
    };
    format!(
        "{title}: {} – {}, ≤ {}",
        first.day,
        last.day,
        compact(high, language)
    )
}

/// Left and right end of the effects' axis.
const EFFECT_ENDS: (f64, f64) = (300.0, 960.0);

/// Draws each arm's relative effect with its interval, and the wider one that bears peeking.
///
/// Relative, because experiments on money and on rates share the axis. Arms whose control mean is
/// 0, or without an estimate, are in the table only.
pub(super) fn effects(rows: &[ExperimentRow], words: &Words) -> Option<String> {
    const WIDTH: f64 = 1_140.0;
    const ROW: f64 = 46.0;
    const TOP: f64 = 12.0;
    let drawn: Vec<Effect<'_>> = rows.iter().filter_map(Effect::of).collect();
    if drawn.is_empty() {
        return None;
    }
    let (low, high) = drawn.iter().fold((0.0f64, 0.0f64), |(low, high), row| {
        let truth = row.truth.unwrap_or(0.0);
        (
            low.min(row.outer.0).min(truth),
            high.max(row.outer.1).max(truth),
        )
    });
    let axis = Axis::covering(low, high, 6);
    let bottom = TOP + ROW * drawn.len() as f64;
    let mut svg = Svg::new(
        "effects",
        words.effects,
        words.effects_note,
        WIDTH,
        bottom + 30.0,
    );
    for &tick in &axis.ticks {
        let x = axis.place(tick, EFFECT_ENDS.0, EFFECT_ENDS.1);
        svg.line(
            (x, TOP),
            (x, bottom),
            if tick == 0.0 { "base" } else { "grid" },
        );
        svg.text(
            (x, bottom + 20.0),
            Anchor::Middle,
            "tick",
            &tick_percent(tick),
        );
    }
    for (place, row) in drawn.iter().enumerate() {
        row.draw(&mut svg, &axis, TOP + ROW * (place as f64 + 0.5), words);
    }
    Some(svg.finish())
}

/// One arm's effect relative to the control's mean.
struct Effect<'a> {
    of: &'a ExperimentRow,
    effect: f64,
    inner: (f64, f64),
    outer: (f64, f64),
    truth: Option<f64>,
}

impl<'a> Effect<'a> {
    fn of(row: &'a ExperimentRow) -> Option<Self> {
        let estimate = row.analysis.estimate?;
        let base = estimate.control_mean.abs();
        if base == 0.0 {
            return None;
        }
        let inner = (estimate.interval.low / base, estimate.interval.high / base);
        let outer = row
            .analysis
            .sequential
            .map_or(inner, |wide| (wide.low / base, wide.high / base));
        let truth = row.truth.map(|truth| truth / base);
        Some(Self {
            of: row,
            effect: estimate.effect / base,
            inner,
            outer,
            truth,
        })
    }

    /// Draws the row whose middle is at `y`: name, bar, both whiskers, truth, figures.
    fn draw(&self, svg: &mut Svg, axis: &Axis, y: f64, words: &Words) {
        let (left, right) = EFFECT_ENDS;
        let x = |value: f64| axis.place(value, left, right);
        let name = format!("{} · {}", self.of.experiment, self.of.analysis.variant);
        svg.text((left - 16.0, y - 2.0), Anchor::End, "name", &label(&name));
        svg.text(
            (left - 16.0, y + 14.0),
            Anchor::End,
            "tick",
            &label(&self.of.metric),
        );
        let tone = tone(self.of.analysis.verdict);
        let (from, to) = (x(0.0).min(x(self.effect)), x(0.0).max(x(self.effect)));
        let tooltip = format!("{name}: {}", change(self.effect));
        svg.bar(
            (from, y - 9.0),
            (to - from, 18.0),
            &format!("soft-{tone}"),
            &tooltip,
        );
        svg.line((x(self.outer.0), y), (x(self.outer.1), y), "outer");
        let whisker = format!("whisker-{tone}");
        svg.line((x(self.inner.0), y), (x(self.inner.1), y), &whisker);
        for end in [self.inner.0, self.inner.1] {
            svg.line((x(end), y - 6.0), (x(end), y + 6.0), &whisker);
        }
        svg.dot((x(self.effect), y), 4.5, &format!("dot-{tone}"), &tooltip);
        if let Some(truth) = self.truth {
            svg.diamond(
                (x(truth), y),
                "truth",
                &format!("{}: {}", words.truth, change(truth)),
            );
        }
        svg.text(
            (right + 18.0, y - 2.0),
            Anchor::Start,
            "name",
            &change(self.effect),
        );
        let interval = format!("{} … {}", change(self.inner.0), change(self.inner.1));
        svg.text((right + 18.0, y + 14.0), Anchor::Start, "tick", &interval);
    }
}

/// Returns the colour name of a verdict.
pub(super) fn tone(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Increase => "up",
        Verdict::Decrease => "down",
        Verdict::Inconclusive => "flat",
        Verdict::Invalid => "bad",
    }
}

fn tick_percent(share: f64) -> String {
    let text = percent(share);
    let short = text
        .trim_end_matches('%')
        .trim_end_matches('0')
        .trim_end_matches('.');
    match short {
        "" => "0%".to_owned(),
        // "10" of "10.0" must not lose its own zero.
        _ if text.contains('.') => format!("{short}%"),
        _ => text,
    }
}
