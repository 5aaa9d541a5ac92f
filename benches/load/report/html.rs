//! A report as one page without other files.

use super::Report;
use super::plots::{self, Plot};
use super::svg::{self, escape};
use super::table;

const STYLE: &str = include_str!("page.css");

const COMPARED: &str = "<p>The median of the rounds, and in brackets its ratio to the floor: the \
    median of the ratios within each round. Where there are peers and goals, this gateway's ratio \
    to the best peer, and the ratio or figure that it is to reach.</p>";

pub(super) fn page(report: &Report) -> String {
    let title = format!("Load: {}", report.scenario);
    let mut body = format!(
        "<header><h1>{}</h1><p>{}</p><p><code>{}</code></p></header>",
        escape(&title),
        escape(&report.machine.line()),
        escape(&report.command)
    );
    put(&mut body, &legend(&plots::servers(report)));
    if !report.rows.is_empty() {
        let (head, rows) = table::comparison_cells(&report.rows);
        put(&mut body, "<h2>Compared</h2>");
        put(&mut body, COMPARED);
        put(&mut body, &html_table(&head, &rows, table::WORDS));
    }
    for section in plots::sections(report) {
        put(&mut body, &format!("<h2>{}</h2><p>{}</p>", section.title, section.explanation));
        let figures = section.plots.iter().map(plot).collect::<String>();
        put(&mut body, &format!("<div class=\"plots\">{figures}</div>"));
    }
    let (head, rows) = table::cells(&report.measurements);
    put(&mut body, "<h2>Measured</h2>");
    put(&mut body, &html_table(&head, &rows, table::WORDS));
    for (head, rows) in
        [table::thread_cells(&report.measurements), table::curve_cells(&report.measurements)]
    {
        if !rows.is_empty() {
            put(&mut body, &html_table(&head, &rows, table::WORDS));
        }
    }
    let remarks: Vec<_> = report.remarks().map(|remark| tag("li", &escape(&remark))).collect();
    if !remarks.is_empty() {
        put(&mut body, &format!("<h2>Remarks</h2><ul>{}</ul>", remarks.concat()));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><style>{}{STYLE}</style></head>\n<body>{body}</body></html>\n",
        escape(&title),
        svg::STYLE
    )
}

fn legend(servers: &[&str]) -> String {
    let entry = |(colour, server): (usize, &&str)| {
        format!("<span class=\"c{colour}\"><i></i>{}</span>", escape(server))
    };
    let entries: String = servers.iter().enumerate().map(entry).collect();
    format!("<p class=\"legend\">{entries}</p>")
}

fn plot(plot: &Plot) -> String {
    format!(
        "<figure><figcaption>{}</figcaption>{}</figure>",
        escape(&plot.title),
        plot.chart.flowing()
    )
}

/// A table whose first columns hold text, and the others numbers.
fn html_table(head: &[String], rows: &[Vec<String>], words: usize) -> String {
    let line = |cells: &[String], tag: &str| {
        let cells = cells.iter().enumerate().map(|(column, text)| {
            let class = if column < words { "" } else { " class=\"number\"" };
            let class = match text.as_str() {
                text if text.ends_with("MISSED") => " class=\"number missed\"",
                text if text.ends_with("reached") => " class=\"number reached\"",
                _ => class,
            };
            format!("<{tag}{class}>{}</{tag}>", escape(text))
        });
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let body: String = rows.iter().map(|row| line(row, "td")).collect();
    format!(
        "<div class=\"scroll\"><table><thead>{}</thead><tbody>{body}</tbody></table></div>",
        line(head, "th")
    )
}

fn tag(name: &str, content: &str) -> String {
    format!("<{name}>{content}</{name}>")
}

fn put(page: &mut String, part: &str) {
    page.push_str(part);
    page.push('\n');
}
