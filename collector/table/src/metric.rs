//! The `metrics` table: one row a data point, kept plainly so that an SDK that sends all three signals is served.
//! `otlp` appends; only SQL reads it.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, RecordBatch, StringBuilder, TimestampNanosecondBuilder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::attributes::map_type;
use crate::columns::utc;
use crate::{AttributesBuilder, ValueType};

/// What a data point's row is built from. Attributes are pushed on the builder before `append`.
pub struct MetricFields<'a> {
    /// Unix nanoseconds of the point.
    pub time_ns: i64,
    /// Unix nanoseconds since which a sum or histogram counts; 0 when unknown.
    pub start_ns: i64,
    /// `service.name` of the resource.
    pub service_name: &'a str,
    /// Instance, pod or host.
    pub service_instance: Option<&'a str>,
    /// Metric name.
    pub name: &'a str,
    /// UCUM unit as sent.
    pub unit: Option<&'a str>,
    /// `gauge`, `sum`, `histogram`, `exponential_histogram` or `summary`.
    pub kind: &'static str,
    /// `delta` or `cumulative`.
    pub temporality: Option<&'static str>,
    /// Whether a sum only grows.
    pub is_monotonic: Option<bool>,
    /// Number of a gauge or sum; integers above 2^53 lose precision.
    pub value: Option<f64>,
    /// Count, sum, least and greatest of a histogram or summary.
    pub count: Option<u64>,
    /// Sum of a histogram or summary.
    pub sum: Option<f64>,
    /// Least recorded value.
    pub min: Option<f64>,
    /// Greatest recorded value.
    pub max: Option<f64>,
    /// Buckets or quantiles as JSON.
    pub detail: Option<&'a str>,
}

/// Returns the schema of the `metrics` table.
pub fn metric_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("time", utc(), false),
            Field::new("start_time", utc(), false),
            Field::new("service_name", DataType::Utf8, false),
            Field::new("service_instance", DataType::Utf8, true),
            Field::new("name", DataType::Utf8, false),
            Field::new("unit", DataType::Utf8, true),
            Field::new("kind", DataType::Utf8, false),
            Field::new("temporality", DataType::Utf8, true),
            Field::new("is_monotonic", DataType::Boolean, true),
            Field::new("value", DataType::Float64, true),
            Field::new("count", DataType::UInt64, true),
            Field::new("sum", DataType::Float64, true),
            Field::new("min", DataType::Float64, true),
            Field::new("max", DataType::Float64, true),
            Field::new("detail", DataType::Utf8, true),
            Field::new("attributes", map_type(), false),
            Field::new("attribute_types", DataType::Utf8, true),
            Field::new("resource_attributes", map_type(), false),
            Field::new("resource_attribute_types", DataType::Utf8, true),
        ]))
    });
    SCHEMA.clone()
}

/// Builds a batch of the `metrics` table. For each point: push attributes and resource attributes, then `append`.
pub struct MetricTableBuilder {
    time: TimestampNanosecondBuilder,
    start_time: TimestampNanosecondBuilder,
    service_name: StringBuilder,
    service_instance: StringBuilder,
    name: StringBuilder,
    unit: StringBuilder,
    kind: StringBuilder,
    temporality: StringBuilder,
    is_monotonic: BooleanBuilder,
    value: Float64Builder,
    count: UInt64Builder,
    sum: Float64Builder,
    min: Float64Builder,
    max: Float64Builder,
    detail: StringBuilder,
    attributes: AttributesBuilder,
    resource_attributes: AttributesBuilder,
    rows: usize,
}

impl Default for MetricTableBuilder {
    fn default() -> Self {
        Self {
            time: TimestampNanosecondBuilder::new().with_timezone("UTC"),
            start_time: TimestampNanosecondBuilder::new().with_timezone("UTC"),
            service_name: StringBuilder::new(),
            service_instance: StringBuilder::new(),
            name: StringBuilder::new(),
            unit: StringBuilder::new(),
            kind: StringBuilder::new(),
            temporality: StringBuilder::new(),
            is_monotonic: BooleanBuilder::new(),
            value: Float64Builder::new(),
            count: UInt64Builder::new(),
            sum: Float64Builder::new(),
            min: Float64Builder::new(),
            max: Float64Builder::new(),
            detail: StringBuilder::new(),
            attributes: AttributesBuilder::default(),
            resource_attributes: AttributesBuilder::default(),
            rows: 0,
        }
    }
}

impl MetricTableBuilder {
    /// Pushes an attribute of the point that is appended next.
    pub fn push_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.attributes.push(key, value, value_type);
    }

    /// Pushes a resource attribute of the point that is appended next.
    pub fn push_resource_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.resource_attributes.push(key, value, value_type);
    }

    /// Appends the point with all that was pushed since the last one.
    pub fn append(&mut self, point: &MetricFields<'_>) {
        self.time.append_value(point.time_ns);
        self.start_time.append_value(point.start_ns);
        self.service_name.append_value(point.service_name);
        self.service_instance.append_option(point.service_instance);
        self.name.append_value(point.name);
        self.unit.append_option(point.unit);
        self.kind.append_value(point.kind);
        self.temporality.append_option(point.temporality);
        self.is_monotonic.append_option(point.is_monotonic);
        self.value.append_option(point.value);
        self.count.append_option(point.count);
        self.sum.append_option(point.sum);
        self.min.append_option(point.min);
        self.max.append_option(point.max);
        self.detail.append_option(point.detail);
        self.attributes.finish_row();
        self.resource_attributes.finish_row();
        self.rows += 1;
    }

    /// Returns how many points were appended.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Returns whether no point was appended.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns the batch and consumes the builder.
    pub fn finish(mut self) -> RecordBatch {
        let (attributes, attribute_types) = self.attributes.finish();
        let (resource_attributes, resource_attribute_types) = self.resource_attributes.finish();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.time.finish()),
            Arc::new(self.start_time.finish()),
            Arc::new(self.service_name.finish()),
            Arc::new(self.service_instance.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.unit.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(self.temporality.finish()),
            Arc::new(self.is_monotonic.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.count.finish()),
            Arc::new(self.sum.finish()),
            Arc::new(self.min.finish()),
            Arc::new(self.max.finish()),
            Arc::new(self.detail.finish()),
            attributes,
            attribute_types,
            resource_attributes,
            resource_attribute_types,
        ];
        RecordBatch::try_new(metric_schema(), columns).expect("append fills every column of the schema")
    }
}
