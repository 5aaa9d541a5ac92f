//! The bar charts of a report as one picture, for documents that cannot include a page.

use super::Report;
use super::plots::{self, Plot};
use super::svg::{self, WIDTH, escape};

/// Charts beside each other.
const COLUMNS: usize = 2;

/// The space around charts, and above each for its title.
const GAP: f64 = 24.0;
const TITLE: f64 = 22.0;
const LINE: f64 = 18.0;

const WHAT: &str = "The server's CPU time for each message, delivery or session, or its memory for \
    each session, and the ratio to the floor. Less is better.";

/// None for a report that compares nothing.
pub(super) fn picture(report: &Report) -> Option<String> {
    let section = plots::costs(report)?;
    let mut y = GAP + TITLE;
    let mut content = text(GAP, y - TITLE / 2.0, "value", WHAT);
    for row in section.plots.chunks(COLUMNS) {
        let mut x = GAP;
        for Plot { title, chart } in row {
            content += &text(x, y + TITLE / 2.0, "title", title);
            content += &chart.placed(x, y + TITLE);
            x += WIDTH + GAP;
        }
        y += row.iter().map(|plot| plot.chart.height).fold(0.0, f64::max) + TITLE + GAP;
    }
    for line in [&report.machine.line(), &report.command] {
        content += &text(GAP, y, "tick", line);
        y += LINE;
    }
    let (width, height) = (GAP + 2.0 * (WIDTH + GAP), y + GAP - LINE);
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, 'DejaVu Sans', sans-serif\"><style>{}\
         svg .title {{ fill: var(--ink); font-weight: 600; }}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"var(--card)\"/>{content}</svg>\n",
        svg::STYLE
    ))
}

fn text(x: f64, y: f64, class: &str, words: &str) -> String {
    format!(r#"<text class="{class}" x="{x}" y="{y}">{}</text>"#, escape(words))
}
