//! Metric data points into rows of the `metrics` table.

use collector_table::{MetricFields, MetricTableBuilder, ResourceFields};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use serde_json::json;

use super::plain_number;
use super::resource::Origin;
use super::tally::{Tally, attribute_bytes, present, time_ns};
use crate::{DecodedBatch, Limits, RejectReason, Signal};

/// Returns one row for every valid data point.
pub(crate) fn metrics(request: &ExportMetricsServiceRequest, limits: &Limits) -> DecodedBatch {
    let mut tally = Tally::new(limits);
    let mut table = MetricTableBuilder::default();
    for resource_metrics in &request.resource_metrics {
        let origin = Origin::new(resource_metrics.resource.as_ref(), &mut tally);
        let resource = table.resource(&ResourceFields {
            service_name: origin.service_name(),
            service_instance: origin.service_instance(),
            service_version: origin.service_version(),
            attributes: &origin.attributes_json(),
        });
        for scope_metrics in &resource_metrics.scope_metrics {
            for metric in &scope_metrics.metrics {
                add_metric((&origin, resource), metric, &mut tally, &mut table);
            }
        }
    }
    tally.finish(Signal::Metrics, table.finish())
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
    metric: &'a metrics::Metric,
    kind: &'static str,
    temporality: Option<&'static str>,
    is_monotonic: Option<bool>,
}

fn add_metric(
    origin: (&Origin<'_>, u32),
    metric: &metrics::Metric,
    tally: &mut Tally<'_>,
    table: &mut MetricTableBuilder,
) {
    let series = |kind, temporality, is_monotonic| Series { metric, kind, temporality, is_monotonic };
    let mut add = |series: &Series<'_>, point: Point<'_>| {
        if let Err(reason) = add_point(origin, series, &point, tally, table) {
            tally.reject(reason);
        }
    };
    match &metric.data {
        Some(Data::Gauge(gauge)) => {
            let series = series("gauge", None, None);
            gauge.data_points.iter().for_each(|point| add(&series, number(point)));
        }
        Some(Data::Sum(sum)) => {
            let series = series("sum", temporality(sum.aggregation_temporality), Some(sum.is_monotonic));
            sum.data_points.iter().for_each(|point| add(&series, number(point)));
        }
        Some(Data::Histogram(data)) => {
            let series = series("histogram", temporality(data.aggregation_temporality), None);
            data.data_points.iter().for_each(|point| add(&series, histogram(point)));
        }
        Some(Data::ExponentialHistogram(data)) => {
            let series = series("exponential_histogram", temporality(data.aggregation_temporality), None);
            data.data_points.iter().for_each(|point| add(&series, exponential_histogram(point)));
        }
        Some(Data::Summary(data)) => {
            let series = series("summary", None, None);
            data.data_points.iter().for_each(|point| add(&series, summary(point)));
        }
        None => tally.reject(RejectReason::UnknownMetricKind),
    }
}

fn add_point(
    (origin, resource): (&Origin<'_>, u32),
    series: &Series<'_>,
    point: &Point<'_>,
    tally: &mut Tally<'_>,
    table: &mut MetricTableBuilder,
) -> Result<(), RejectReason> {
    let metric = series.metric;
    let (attributes, _) = tally.cut(point.attributes);
    let fields = MetricFields {
        time_ns: time_ns(point.time_unix_ns)?,
        start_ns: time_ns(point.start_unix_ns)?,
        resource,
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
    tally.admit(origin.row_bytes + attribute_bytes(&attributes) + texts)?;
    for attribute in &attributes {
        table.push_attribute(attribute.key, &attribute.value, attribute.value_type);
    }
    table.append(&fields);
    Ok(())
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
