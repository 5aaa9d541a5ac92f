//! Charts as SVG. Colours are classes of the page, so that it can be light or dark. Does not import
//! measurements.

use std::fmt::Write;

pub(super) const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 42.0;

/// The names of bars stand in this width, and their values in the second one.
const NAMES: f64 = 140.0;
const VALUES: f64 = 130.0;
const BAR: f64 = 26.0;

/// What a chart looks like: colours, for a light and a dark background, and strokes.
pub(super) const STYLE: &str = include_str!("chart.css");

/// A chart of [`WIDTH`].
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) height: f64,
    content: String,
}

impl Chart {
    fn new(height: f64) -> Self {
        Self { height, content: String::new() }
    }

    /// As an element of a page, as wide as there is room.
    pub(super) fn flowing(&self) -> String {
        let Self { height, content } = self;
        format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img">{content}</svg>"#)
    }

    /// As a part of a larger picture, at a place of it.
    pub(super) fn placed(&self, x: f64, y: f64) -> String {
        format!(r#"<g transform="translate({x} {y})">{}</g>"#, self.content)
    }
}

/// An axis: where values lie on it, and which are named.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) title: String,
    /// The named values, in order.
    pub(super) ticks: Vec<(f64, String)>,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) logarithmic: bool,
}

/// One line of a chart.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// Which of the page's colours it has.
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, f64)>,
    /// Whether the points are marked, with their values as titles.
    pub(super) marked: bool,
}

/// One bar of a chart.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) colour: usize,
    pub(super) value: f64,
    /// What stands beside it.
    pub(super) label: String,
    /// Where the middle half of the values lies whose median it shows.
    pub(super) spread: (f64, f64),
}

impl Axis {
    /// A logarithmic axis around positive values, with a tick at 1, 2 and 5 of each decade.
    pub(super) fn logarithmic(
        title: &str,
        values: impl Iterator<Item = f64> + Clone,
        name: impl Fn(f64) -> String,
    ) -> Self {
        let least = values.clone().filter(|&v| v > 0.0).fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max).max(least);
        let (least, most) = if least.is_finite() { (least, most) } else { (1.0, 10.0) };
        let steps: Vec<f64> = (-9..16)
            .flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(decade)))
            .collect();
        let from = steps.iter().rev().copied().find(|&s| s <= least).unwrap_or(least);
        let to = steps.iter().copied().find(|&s| s >= most && s > from).unwrap_or(most);
        let inside: Vec<f64> = steps.into_iter().filter(|&s| s >= from && s <= to).collect();
        // Over many decades only whole ones are named.
        let sparse = inside.len() > 9;
        let decade = |value: f64| (value.log10() - value.log10().round()).abs() < 1e-9;
        let ticks = inside
            .into_iter()
            .filter(|&value| !sparse || decade(value))
            .map(|value| (value, name(value)))
            .collect();
        Self { title: title.to_owned(), ticks, from, to, logarithmic: true }
    }

    /// An axis from zero to above the largest value.
    pub(super) fn linear(title: &str, values: impl Iterator<Item = f64>) -> Self {
        let most = values.fold(0.0, f64::max);
        let magnitude = 10f64.powf(most.max(1e-9).log10().floor());
        let step = [0.2, 0.5, 1.0, 2.0]
            .map(|digit| digit * magnitude)
            .into_iter()
            .find(|step| most / step <= 6.0)
            .unwrap_or(magnitude);
        let count = (most / step).ceil().max(1.0);
        let decimals = if step < 0.1 { 2 } else { usize::from(step < 1.0) };
        let mut ticks = Vec::new();
        let mut value = 0.0;
        while value <= count * step + step / 2.0 {
            ticks.push((value, format!("{value:.decimals$}")));
            value += step;
        }
        Self { title: title.to_owned(), ticks, from: 0.0, to: count * step, logarithmic: false }
    }

    /// Where a value lies, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.log10() } else { value };
        let (from, to) = (scale(self.from), scale(self.to));
        ((scale(value) - from) / (to - from)).clamp(0.0, 1.0)
    }
}

/// Lines over two axes.
pub(super) fn lines(x: &Axis, y: &Axis, series: &[Series]) -> Chart {
    let at = |(vx, vy): (f64, f64)| {
        let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        (LEFT + x.place(vx) * width, HEIGHT - BOTTOM - y.place(vy) * height)
    };
    let mut chart = Chart::new(HEIGHT);
    let svg = &mut chart.content;
    let (left, bottom) = at((x.from, y.from));
    let (right, top) = at((x.to, y.to));
    for (value, name) in &y.ticks {
        let (_, height) = at((x.from, *value));
        put(
            svg,
            format_args!(
                r#"<path class="grid" d="M{left:.1} {height:.1}H{right:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                left - 8.0,
                height + 4.0,
                escape(name)
            ),
        );
    }
    for (value, name) in &x.ticks {
        let (place, _) = at((*value, y.from));
        put(
            svg,
            format_args!(
                r#"<path class="grid" d="M{place:.1} {top:.1}V{bottom:.1}"/><text class="tick" x="{place:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                bottom + 17.0,
                escape(name)
            ),
        );
    }
    put(
        svg,
        format_args!(
            r#"<text class="axis" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text><text class="axis" transform="translate(12 {:.1}) rotate(-90)" text-anchor="middle">{}</text>"#,
            f64::midpoint(left, right),
            HEIGHT - 6.0,
            escape(&x.title),
            f64::midpoint(top, bottom),
            escape(&y.title)
        ),
    );
    for line in series {
        let mut path = String::new();
        for (index, &point) in line.points.iter().enumerate() {
            let (px, py) = at(point);
            let command = if index == 0 { 'M' } else { 'L' };
            put(&mut path, format_args!("{command}{px:.1} {py:.1}"));
        }
        let (colour, name) = (line.colour, escape(&line.name));
        put(
            svg,
            format_args!(r#"<path class="line c{colour}" d="{path}"><title>{name}</title></path>"#),
        );
        for &(vx, vy) in line.points.iter().filter(|_| line.marked) {
            let (px, py) = at((vx, vy));
            put(
                svg,
                format_args!(
                    r#"<circle class="point c{colour}" cx="{px:.1}" cy="{py:.1}" r="3.5"><title>{name}: {}</title></circle>"#,
                    crate::figures::figure(vy)
                ),
            );
        }
    }
    chart
}

/// Horizontal bars, the spread of each as a thin line.
pub(super) fn bars(bars: &[Bar]) -> Chart {
    let count = f64::from(u32::try_from(bars.len()).unwrap_or(u32::MAX));
    let most = bars.iter().map(|bar| bar.value.max(bar.spread.1)).fold(0.0, f64::max);
    let width = |value: f64| {
        let share = if most > 0.0 { (value / most).min(1.0) } else { 0.0 };
        share * (WIDTH - NAMES - VALUES)
    };
    let mut chart = Chart::new(count * BAR + 8.0);
    let svg = &mut chart.content;
    let mut y = 4.0;
    for bar in bars {
        let (colour, length, middle) = (bar.colour, width(bar.value).max(1.0), y + BAR / 2.0);
        let (least, high) = (NAMES + width(bar.spread.0), NAMES + width(bar.spread.1));
        put(
            svg,
            format_args!(
                r#"<text class="name" x="{:.1}" y="{:.1}" text-anchor="end">{}</text><rect class="bar c{colour}" x="{NAMES}" y="{:.1}" width="{length:.1}" height="{:.1}" rx="2"/><path class="spread" d="M{least:.1} {middle:.1}H{high:.1}"/><text class="value" x="{:.1}" y="{:.1}">{}</text>"#,
                NAMES - 8.0,
                middle + 4.0,
                escape(&bar.name),
                y + 4.0,
                BAR - 8.0,
                NAMES + length.max(high - NAMES) + 7.0,
                middle + 4.0,
                escape(&bar.label)
            ),
        );
        y += BAR;
    }
    chart
}

fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("a string takes all that is written to it");
}

/// Text as HTML and SVG take it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
