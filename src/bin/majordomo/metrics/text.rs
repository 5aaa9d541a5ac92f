//! The text format of Prometheus, version 0.0.4. Knows no metric by name.
//!
//! The counting is done elsewhere, without atomics; here only results are written down.

use std::fmt::{Display, Write};

use super::histograms::Histogram;

/// The labels of a sample, and its value.
pub(super) type MetricSample<'a, const N: usize> = ([(&'a str, &'a str); N], f64);

/// The text of one scrape.
#[derive(Debug, Default)]
pub(super) struct MetricsText(String);

impl MetricsText {
    /// A counter.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.counters(name, help, [([], value)]);
    }

    /// A counter with labels.
    pub(super) fn counters<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = MetricSample<'a, N>>,
    ) {
        self.family("counter", name, help, samples);
    }

    /// A gauge.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [([], value)]);
    }

    /// A gauge with labels.
    pub(super) fn gauges<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = MetricSample<'a, N>>,
    ) {
        self.family("gauge", name, help, samples);
    }

    /// A histogram. One of the metric's units is `scale` of the histogram's.
    pub(super) fn histogram<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: &Histogram<N>,
        scale: f64,
    ) {
        self.header("histogram", name, help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in values.cumulative() {
            let bound = (float(bound) / scale).to_string();
            self.sample(&bucket, &[("le", &bound)], float(count));
        }
        let count = float(values.count());
        self.sample(&bucket, &[("le", "+Inf")], count);
        self.sample(&format!("{name}_sum"), &[], float(values.sum()) / scale);
        self.sample(&format!("{name}_count"), &[], count);
    }

    /// The text.
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// Writes a family. One without samples is left out, with its name.
    fn family<'a, const N: usize>(
        &mut self,
        kind: &str,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = MetricSample<'a, N>>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_some() {
            self.header(kind, name, help);
        }
        for (labels, value) in samples {
            self.sample(name, &labels, value);
        }
    }

    fn header(&mut self, kind: &str, name: &str, help: &str) {
        self.write(format_args!("# HELP {name} "));
        self.escape(help, false);
        self.write(format_args!("\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.write(name);
        let mut before = '{';
        for (label, text) in labels {
            self.write(format_args!("{before}{label}=\""));
            self.escape(text, true);
            self.write('"');
            before = ',';
        }
        if !labels.is_empty() {
            self.write('}');
        }
        self.write(format_args!(" {value}\n"));
    }

    /// "`label_value` can be any sequence of UTF-8 characters, but the backslash (`\`),
    /// double-quote (`"`), and line feed (`\n`) characters have to be escaped"; a help text has no
    /// quotes around it, and only the other two are escaped.
    fn escape(&mut self, text: &str, is_quoted: bool) {
        for c in text.chars() {
            match c {
                '\\' => self.write("\\\\"),
                '\n' => self.write("\\n"),
                '"' if is_quoted => self.write("\\\""),
                c => self.write(c),
            }
        }
    }

    fn write(&mut self, what: impl Display) {
        write!(self.0, "{what}").expect("a String takes every write");
    }
}

/// A count as the value of a sample.
#[expect(clippy::cast_precision_loss, reason = "the format's values are floats, exact up to 2^53")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        let mut text = MetricsText::default();
        text.gauges("a", "One \"line\",\na \\.", [([("b", "x\\\"\n"), ("c", "{}")], 1.5)]);
        let expected = "# HELP a One \"line\",\\na \\\\.\n# TYPE a gauge\n\
            a{b=\"x\\\\\\\"\\n\",c=\"{}\"} 1.5\n";
        assert_eq!(text.into_string(), expected);
    }

    #[test]
    fn a_family_without_samples_is_left_out() {
        let mut text = MetricsText::default();
        text.counters::<1>("a_total", "None.", []);
        assert_eq!(text.into_string(), "");
    }

    #[test]
    fn large_counts_are_written_in_digits() {
        let mut text = MetricsText::default();
        text.counter("a_total", "Many.", float(1 << 53));
        assert!(text.into_string().ends_with("\na_total 9007199254740992\n"));
    }
}
