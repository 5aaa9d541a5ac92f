//! Figures as the `prometheus` crate's types, and those as text. Knows no figure by name.
//!
//! The crate's own counters and histograms are for those who count with them: they are shared, so
//! atomic. Here all counting is done already, and only its results are put down.

use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::ticks::Histogram;

/// A value, and what tells it apart from others of its family: names and values of labels.
pub(super) type Sample<'a, const N: usize> = ([(&'a str, &'a str); N], f64);

/// All figures of one scrape, in order. What is not generic is kept out of line: it is called from
/// many places, each of which would have its own copy.
#[derive(Debug, Default)]
pub(super) struct Families(Vec<MetricFamily>);

impl Families {
    /// A count that only rises.
    #[inline(never)]
    pub(super) fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.counters(name, help, [([], value)]);
    }

    /// Such counts, told apart by labels.
    pub(super) fn counters<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a, N>>,
    ) {
        let metrics = samples.into_iter().map(|(labels, value)| counter(&labels, value));
        self.push(MetricType::COUNTER, name, help, metrics.collect());
    }

    /// A figure that rises and falls.
    #[inline(never)]
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [([], value)]);
    }

    /// Such figures, told apart by labels.
    pub(super) fn gauges<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a, N>>,
    ) {
        let metrics = samples.into_iter().map(|(labels, value)| gauge(&labels, value));
        self.push(MetricType::GAUGE, name, help, metrics.collect());
    }

    /// How often each size occurred. A unit of the histogram's own is `scale` of the metric's.
    pub(super) fn histogram<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: &Histogram<N>,
        scale: f64,
    ) {
        let buckets = values.cumulative().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(float(bound) / scale);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = prometheus::proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(values.count());
        histogram.set_sample_sum(float(values.sum()) / scale);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.push(MetricType::HISTOGRAM, name, help, vec![metric]);
    }

    /// A family that has no sample at the moment is left out, with its name: the format knows no
    /// empty one.
    #[inline(never)]
    fn push(&mut self, kind: MetricType, name: &str, help: &str, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }

    /// The text, in version 0.0.4 of the format.
    pub(super) fn encode(&self) -> String {
        let mut text = Vec::new();
        TextEncoder.encode(&self.0, &mut text).expect("each family has a name and a metric");
        String::from_utf8(text).expect("it is made of text")
    }
}

#[inline(never)]
fn counter(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = labelled(labels);
    metric.set_counter(counter);
    metric
}

#[inline(never)]
fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = labelled(labels);
    metric.set_gauge(gauge);
    metric
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut metric = Metric::default();
    metric.set_label(pairs.collect());
    metric
}

/// A count as a sample's value, all of which are floats.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and that is the format's limit")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
