//! A small SVG writer: elements with escaped text and classes; colours live in the style sheet.

use std::fmt::Write;

use super::format::escape;

/// A drawing under construction. Lengths are user units; the drawing scales to its container.
pub(super) struct Svg {
    width: f64,
    height: f64,
    head: String,
    body: String,
}

/// Where a text's `x` is.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

impl Svg {
    /// Starts a drawing. `id` must be unique on the page; title and description are read aloud.
    pub(super) fn new(id: &str, title: &str, description: &str, width: f64, height: f64) -> Self {
        let head = format!(
            "role=\"img\" aria-labelledby=\"{id}-t {id}-d\"><title id=\"{id}-t\">{}</title>\
             <desc id=\"{id}-d\">{}</desc>",
            escape(title),
            escape(description),
        );
        Self {
            width,
            height,
            head,
            body: String::new(),
        }
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.put(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>"
        ));
    }

    /// Draws a rectangle with a tooltip; a negative size is none.
    pub(super) fn bar(&mut self, at: (f64, f64), size: (f64, f64), class: &str, tooltip: &str) {
        let ((x, y), (width, height)) = (at, (size.0.max(0.0), size.1.max(0.0)));
        self.put(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" \
             class=\"{class}\"><title>{}</title></rect>",
            escape(tooltip)
        ));
    }

    pub(super) fn dot(&mut self, at: (f64, f64), radius: f64, class: &str, tooltip: &str) {
        let (x, y) = at;
        self.put(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" class=\"{class}\">\
             <title>{}</title></circle>",
            escape(tooltip)
        ));
    }

    /// Draws a small diamond.
    pub(super) fn diamond(&mut self, at: (f64, f64), class: &str, tooltip: &str) {
        const REACH: f64 = 5.5;
        let (x, y) = at;
        let points = [
            (x, y - REACH),
            (x + REACH, y),
            (x, y + REACH),
            (x - REACH, y),
        ];
        self.put(format_args!(
            "<path d=\"{}Z\" class=\"{class}\"><title>{}</title></path>",
            outline(&points),
            escape(tooltip)
        ));
    }

    /// Draws a line through points, left open.
    pub(super) fn polyline(&mut self, points: &[(f64, f64)], class: &str) {
        self.put(format_args!(
            "<path d=\"{}\" class=\"{class}\"/>",
            outline(points)
        ));
    }

    /// Fills the area between points and the level `floor`.
    pub(super) fn area(&mut self, points: &[(f64, f64)], floor: f64, class: &str) {
        if let (Some(first), Some(last)) = (points.first(), points.last()) {
            let mut closed = points.to_vec();
            closed.extend([(last.0, floor), (first.0, floor)]);
            self.put(format_args!(
                "<path d=\"{}Z\" class=\"{class}\"/>",
                outline(&closed)
            ));
        }
    }

    pub(super) fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let (x, y) = at;
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{}\" class=\"{class}\">{}</text>",
            anchor.word(),
            escape(text)
        ));
    }

    /// Returns the finished element.
    pub(super) fn finish(self) -> String {
        let Self {
            width,
            height,
            head,
            body,
        } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             {head}{body}</svg>"
        )
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        self.body
            .write_fmt(element)
            .expect("a String takes all that is written");
    }
}

fn outline(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (place, (x, y)) in points.iter().enumerate() {
        let command = if place == 0 { 'M' } else { 'L' };
        write!(path, "{command}{x:.1} {y:.1}").expect("a String takes all that is written");
    }
    path
}

/// A linear axis whose ends are round numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    /// Round values to label, ascending, the ends among them.
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    /// Covers `low..=high` and 0 with about `parts` round steps of 1, 2, 2.5 or 5 times ten to some power.
    pub(super) fn covering(low: f64, high: f64, parts: usize) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let span = if high > low { high - low } else { 1.0 };
        let rough = span / parts as f64;
        let power = libm::pow(10.0, libm::floor(libm::log10(rough)));
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough * 0.999_999)
            .unwrap_or(10.0 * power);
        let first = (low / step).floor() as i64;
        let last = ((high / step).ceil() as i64).max(first + 1);
        let ticks: Vec<f64> = (first..=last).map(|tick| tick as f64 * step).collect();
        Self {
            low: first as f64 * step,
            high: last as f64 * step,
            ticks,
        }
    }

    /// Returns where a value lies between `start` and `end`.
    pub(super) fn place(&self, value: f64, start: f64, end: f64) -> f64 {
        start + (value - self.low) / (self.high - self.low) * (end - start)
    }
}
