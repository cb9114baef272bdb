//! `ExportMetricsServiceRequest` into rows of the `metrics` table, by way of prost's messages. Called by `decode`.

use std::borrow::Cow;

use collector_table::{MetricFields, MetricTableBuilder, ValueType};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use prost::Message;
use serde_json::json;

use crate::tally::{ENTRY_BYTES, Tally, present, time_ns};
use crate::values::{as_text, plain_number};
use crate::walk::Resource;
use crate::wire::Damaged;
use crate::{DecodedBatch, Limits, RejectReason, Signal};

/// Returns one row for every valid data point.
pub(crate) fn metrics(request: &ExportMetricsServiceRequest, limits: &Limits) -> Result<DecodedBatch, Damaged> {
    let mut walk = Walk { limits, tally: Tally::new(limits), table: MetricTableBuilder::default() };
    for resource_metrics in &request.resource_metrics {
        let message = resource_metrics.resource.as_ref().map(Message::encode_to_vec).unwrap_or_default();
        let resource = Resource::read(&message, limits)?;
        walk.tally.cut_attributes += resource.cut;
        let resource = resource.register(&mut walk.tally, |fields| walk.table.resource(fields));
        for metric in resource_metrics.scope_metrics.iter().flat_map(|scope_metrics| &scope_metrics.metrics) {
            walk.add_metric(resource, metric);
        }
    }
    Ok(walk.tally.finish(Signal::Metrics, walk.table.finish()))
}

struct Walk<'l> {
    limits: &'l Limits,
    tally: Tally,
    table: MetricTableBuilder,
}

/// A data point of any kind, reduced to what a row holds.
#[derive(Default)]
struct Point<'a> {
    time_unix_ns: u64,
    start_unix_ns: u64,
    attributes: &'a [KeyValue],
    value: Option<f64>,
    count: Option<u64>,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    detail: Option<String>,
}

/// What the points of one metric share.
struct Series<'a> {
    resource: u32,
    metric: &'a metrics::Metric,
    kind: &'static str,
    temporality: Option<&'static str>,
    is_monotonic: Option<bool>,
}

impl Walk<'_> {
    fn add_metric(&mut self, resource: u32, metric: &metrics::Metric) {
        let series = |kind, temporality, is_monotonic| Series { resource, metric, kind, temporality, is_monotonic };
        match &metric.data {
            Some(Data::Gauge(gauge)) => {
                let series = series("gauge", None, None);
                self.add_points(&series, gauge.data_points.iter().map(number));
            }
            Some(Data::Sum(sum)) => {
                let series = series("sum", temporality(sum.aggregation_temporality), Some(sum.is_monotonic));
                self.add_points(&series, sum.data_points.iter().map(number));
            }
            Some(Data::Histogram(data)) => {
                let series = series("histogram", temporality(data.aggregation_temporality), None);
                self.add_points(&series, data.data_points.iter().map(histogram));
            }
            Some(Data::ExponentialHistogram(data)) => {
                let series = series("exponential_histogram", temporality(data.aggregation_temporality), None);
                self.add_points(&series, data.data_points.iter().map(exponential_histogram));
            }
            Some(Data::Summary(data)) => {
                let series = series("summary", None, None);
                self.add_points(&series, data.data_points.iter().map(summary));
            }
            None => self.tally.reject(RejectReason::UnknownMetricKind),
        }
    }

    fn add_points<'m>(&mut self, series: &Series<'_>, points: impl Iterator<Item = Point<'m>>) {
        for point in points {
            if let Err(reason) = self.add_point(series, &point) {
                self.tally.reject(reason);
            }
        }
    }

    fn add_point(&mut self, series: &Series<'_>, point: &Point<'_>) -> Result<(), RejectReason> {
        let metric = series.metric;
        let attributes = self.cut(point.attributes);
        let fields = MetricFields {
            time_ns: time_ns(point.time_unix_ns)?,
            start_ns: time_ns(point.start_unix_ns)?,
            resource: series.resource,
            name: &metric.name,
            unit: present(&metric.unit),
            kind: series.kind,
            temporality: series.temporality,
            is_monotonic: series.is_monotonic,
            value: point.value,
            count: point.count,
            sum: point.sum,
            min: point.min,
            max: point.max,
            detail: point.detail.as_deref(),
        };
        let texts = metric.name.len() + metric.unit.len() + fields.detail.map_or(0, str::len);
        let entries = attributes.iter().map(|(key, value, _)| key.len() + value.len() + ENTRY_BYTES);
        self.tally.admit(entries.sum::<usize>() + texts)?;
        for (key, value, value_type) in &attributes {
            self.table.push_attribute(key, value, *value_type);
        }
        self.table.append(&fields);
        Ok(())
    }

    /// Returns the attributes within the limits, as the tables keep them.
    fn cut<'m>(&mut self, attributes: &'m [KeyValue]) -> Vec<(&'m str, Cow<'m, str>, ValueType)> {
        let kept = attributes.len().min(self.limits.attributes_max);
        self.tally.cut_attributes += (attributes.len() - kept) as u64;
        attributes[..kept].iter().map(|attribute| self.shorten(attribute)).collect()
    }

    fn shorten<'m>(&mut self, attribute: &'m KeyValue) -> (&'m str, Cow<'m, str>, ValueType) {
        let max = self.limits.attribute_bytes_max;
        let (value, value_type) = as_text(attribute.value.as_ref());
        let key = &attribute.key[..attribute.key.floor_char_boundary(max)];
        let is_cut = value.len() > max;
        self.tally.cut_attributes += u64::from(is_cut || key.len() < attribute.key.len());
        if is_cut {
            // What is left of a number or of JSON is only text.
            return (key, value[..value.floor_char_boundary(max)].to_owned().into(), ValueType::String);
        }
        (key, value, value_type)
    }
}

fn number(point: &metrics::NumberDataPoint) -> Point<'_> {
    Point {
        time_unix_ns: point.time_unix_nano,
        start_unix_ns: point.start_time_unix_nano,
        attributes: &point.attributes,
        value: point.value.map(|value| match value {
            Value::AsDouble(value) => value,
            Value::AsInt(value) => value as f64,
        }),
        ..Point::default()
    }
}

fn histogram(point: &metrics::HistogramDataPoint) -> Point<'_> {
    let detail = json!({"bounds": doubles(&point.explicit_bounds), "counts": point.bucket_counts});
    Point {
        time_unix_ns: point.time_unix_nano,
        start_unix_ns: point.start_time_unix_nano,
        attributes: &point.attributes,
        count: Some(point.count),
        sum: point.sum,
        min: point.min,
        max: point.max,
        detail: Some(detail.to_string()),
        ..Point::default()
    }
}

fn exponential_histogram(point: &metrics::ExponentialHistogramDataPoint) -> Point<'_> {
    let buckets = |side: &Option<metrics::exponential_histogram_data_point::Buckets>| {
        side.as_ref().map(|side| json!({"offset": side.offset, "counts": side.bucket_counts}))
    };
    let detail = json!({
        "scale": point.scale,
        "zero_count": point.zero_count,
        "zero_threshold": double(point.zero_threshold),
        "positive": buckets(&point.positive),
        "negative": buckets(&point.negative),
    });
    Point {
        time_unix_ns: point.time_unix_nano,
        start_unix_ns: point.start_time_unix_nano,
        attributes: &point.attributes,
        count: Some(point.count),
        sum: point.sum,
        min: point.min,
        max: point.max,
        detail: Some(detail.to_string()),
        ..Point::default()
    }
}

fn summary(point: &metrics::SummaryDataPoint) -> Point<'_> {
    let quantiles = point.quantile_values.iter();
    let pairs: serde_json::Value = quantiles.map(|pair| json!([double(pair.quantile), double(pair.value)])).collect();
    Point {
        time_unix_ns: point.time_unix_nano,
        start_unix_ns: point.start_time_unix_nano,
        attributes: &point.attributes,
        count: Some(point.count),
        sum: Some(point.sum),
        detail: Some(json!({"quantiles": pairs}).to_string()),
        ..Point::default()
    }
}

/// JSON has no NaN and no infinity; those are written as text.
fn double(number: f64) -> serde_json::Value {
    if number.is_finite() { number.into() } else { plain_number(number).into() }
}

fn doubles(numbers: &[f64]) -> serde_json::Value {
    numbers.iter().map(|number| double(*number)).collect()
}

fn temporality(number: i32) -> Option<&'static str> {
    match metrics::AggregationTemporality::try_from(number) {
        Ok(metrics::AggregationTemporality::Delta) => Some("delta"),
        Ok(metrics::AggregationTemporality::Cumulative) => Some("cumulative"),
        Ok(metrics::AggregationTemporality::Unspecified) | Err(_) => None,
    }
}
