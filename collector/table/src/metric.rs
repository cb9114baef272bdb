//! The `metrics` table: one row a data point, kept plainly so that an SDK that sends all three signals is served.
//! `otlp` appends the memory form; only SQL reads it.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BooleanBuilder, Float64Builder, RecordBatch, StringBuilder, UInt64Builder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::attributes::{PUSHED_AS_TEXT, list_type};
use crate::columns::{plain, text_dictionary, timestamps, utc};
use crate::origin::Resources;
use crate::{AttributesBuilder, ResourceFields, ValueType};

/// What a data point's row is built from. Its attributes are pushed on the builder before `append`.
pub struct MetricFields<'a> {
    /// Unix nanoseconds of the point.
    pub time_ns: i64,
    /// Unix nanoseconds since which a sum or histogram counts; 0 when unknown.
    pub start_ns: i64,
    /// From [`MetricTableBuilder::resource`].
    pub resource: u32,
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

/// Returns the memory form's schema.
pub(crate) fn memory_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("time", utc(), false),
            Field::new("start_time", utc(), false),
            Field::new("service_name", text_dictionary(), false),
            Field::new("service_instance", text_dictionary(), true),
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
            Field::new("attributes", list_type(), false),
            Field::new("resource_attributes", text_dictionary(), false),
        ]))
    });
    SCHEMA.clone()
}

/// Returns the SQL form's schema.
pub(crate) fn sql_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| plain(&memory_schema()));
    SCHEMA.clone()
}

/// Builds a batch of the `metrics` table. For each point: push attributes, then `append`.
#[derive(Default)]
pub struct MetricTableBuilder {
    time_ns: Vec<i64>,
    start_ns: Vec<i64>,
    resources: Resources,
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
}

impl MetricTableBuilder {
    /// Pushes an attribute of the point that is appended next.
    pub fn push_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.attributes.push(key, value, value_type);
    }

    /// Returns the number of a resource; equal resources have one number.
    pub fn resource(&mut self, resource: &ResourceFields<'_>) -> u32 {
        self.resources.intern(resource)
    }

    /// Appends the point with all that was pushed since the last one.
    pub fn append(&mut self, point: &MetricFields<'_>) {
        self.time_ns.push(point.time_ns);
        self.start_ns.push(point.start_ns);
        self.resources.push(point.resource);
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
    }

    /// Returns how many points were appended.
    pub fn len(&self) -> usize {
        self.time_ns.len()
    }

    /// Returns whether no point was appended.
    pub fn is_empty(&self) -> bool {
        self.time_ns.is_empty()
    }

    /// Returns the batch and consumes the builder.
    pub fn finish(mut self) -> RecordBatch {
        let [service_name, service_instance, _, resource_attributes] = self.resources.finish();
        let columns: Vec<ArrayRef> = vec![
            timestamps(self.time_ns),
            timestamps(self.start_ns),
            service_name,
            service_instance,
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
            Arc::new(self.attributes.finish().expect(PUSHED_AS_TEXT)),
            resource_attributes,
        ];
        RecordBatch::try_new(memory_schema(), columns).expect("append fills every column of the schema")
    }
}
