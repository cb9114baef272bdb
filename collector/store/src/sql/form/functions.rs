//! Steps from stored columns to the SQL form, as functions of the engine. Only [`super`] puts them into expressions, so
//! their arguments are of the types that it has checked.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, StringArray, StringViewArray, StringViewBuilder, UInt32Array, new_null_array,
};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, is_not_null, take};
use arrow::datatypes::{DataType, Field, Schema, UInt8Type, UInt32Type};
use collector_table::json::{self, ObjectWriter};
use collector_table::{SpanKind, StatusCode, ValueType};
use datafusion::common::exec_err;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::sql::attribute::values_of;

/// Field metadata with the OTLP type of a promoted attribute, as the letter that the memory form uses.
const TYPE: &str = "otlp.type";

/// The columns of promoted attributes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct StoredColumns(Vec<StoredColumn>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct StoredColumn {
    index: usize,
    key: String,
    value_type: u8,
}

impl StoredColumns {
    /// Finds them by their prefix.
    pub(super) fn of(stored: &Schema, prefix: &str) -> Self {
        let fields = stored.fields().iter().enumerate();
        Self(
            fields
                .filter_map(|(index, field)| {
                    let key = field.name().strip_prefix(prefix)?.to_owned();
                    Some(StoredColumn { index, key, value_type: letter(field) })
                })
                .collect(),
        )
    }

    /// Returns where they are among the stored columns.
    pub(super) fn indexes(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|column| column.index)
    }
}

/// Returns the letter of the OTLP type of a promoted attribute's column.
pub(super) fn letter(field: &Field) -> u8 {
    field.metadata().get(TYPE).and_then(|letter| letter.bytes().next()).unwrap_or(b's')
}

/// A step.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Value of a key in a list of attributes.
    AttributeOfList(String),
    /// Value of a key in JSON text that stands in a dictionary.
    AttributeOfDictionary(String),
    /// SQL's text of values of this type.
    SqlText(u8),
    /// Value of a key in its column of SQL's texts, or else in the JSON text of the rest.
    ColumnOrRest(String),
    /// JSON text of a list of attributes.
    JsonOfList,
    /// JSON text of the rest and of columns.
    JsonOfColumns(StoredColumns),
    /// Texts that stand in a dictionary. A cast would make empty texts of entries that are null.
    Text,
    /// Word of a span kind.
    Kind,
    /// Word of a status code.
    Status,
    /// Zero for nothing.
    OrZero,
}

impl Step {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::AttributeOfList(_) | Self::AttributeOfDictionary(_) => "attribute",
            Self::SqlText(_) => "sql_text",
            Self::ColumnOrRest(_) => "column_or_rest",
            Self::JsonOfList | Self::JsonOfColumns(_) => "json",
            Self::Text => "text",
            Self::Kind => "kind",
            Self::Status => "status",
            Self::OrZero => "or_zero",
        }
    }

    pub(super) fn return_type(&self) -> DataType {
        if *self == Self::OrZero { DataType::UInt32 } else { DataType::Utf8View }
    }
}

/// A step as the engine knows functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct StepFunction {
    step: Step,
    signature: Signature,
}

impl StepFunction {
    pub(super) fn new(step: Step) -> Self {
        Self { step, signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for StepFunction {
    fn name(&self) -> &str {
        self.step.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(self.step.return_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let (Some(first), rest) = (columns.first(), columns.get(1..).unwrap_or(&[])) else {
            return exec_err!("{} takes a column", self.step.name());
        };
        let result = match &self.step {
            Step::AttributeOfList(key) => attribute_of_list(first.as_list(), key),
            Step::AttributeOfDictionary(key) => attribute_of_dictionary(first, key)?,
            Step::SqlText(letter) => sql_texts(first, ValueType::from_byte(*letter))?,
            Step::ColumnOrRest(key) => column_or_rest(first, &rest[0], key)?,
            Step::JsonOfList => json_of_list(first.as_list()),
            Step::JsonOfColumns(promoted) => json_of_columns(first, rest, promoted)?,
            Step::Text => texts(first)?,
            Step::Kind => words(first, |number| SpanKind::from_number(number.into()).as_str()),
            Step::Status => words(first, |number| StatusCode::from_number(number.into()).as_str()),
            Step::OrZero => or_zero(first),
        };
        Ok(ColumnarValue::Array(result))
    }
}

/// The parts of a list of attributes.
struct Lists<'a> {
    offsets: &'a [i32],
    keys: &'a [u32],
    names: &'a StringArray,
    values: &'a StringArray,
    types: &'a [u8],
}

impl<'a> Lists<'a> {
    fn of(lists: &'a ListArray) -> Self {
        let items = lists.values().as_struct();
        let keys = items.column(0).as_dictionary::<UInt32Type>();
        Self {
            offsets: lists.value_offsets(),
            keys: keys.keys().values(),
            names: keys.values().as_string(),
            values: items.column(1).as_string(),
            types: items.column(2).as_primitive::<UInt8Type>().values(),
        }
    }

    /// Returns where the items of a row are.
    fn items(&self, row: usize) -> Range<usize> {
        let place = |offset: i32| usize::try_from(offset).unwrap_or(0);
        place(self.offsets[row])..place(self.offsets[row + 1])
    }
}

fn attribute_of_list(lists: &ListArray, key: &str) -> ArrayRef {
    let parts = Lists::of(lists);
    let is_key: Vec<bool> = parts.names.iter().map(|name| name == Some(key)).collect();
    if !is_key.contains(&true) {
        return new_null_array(&DataType::Utf8View, lists.len());
    }
    let mut found = StringViewBuilder::with_capacity(lists.len());
    let mut text = String::new();
    for row in 0..lists.len() {
        let item = parts.items(row).find(|item| is_key[parts.keys[*item] as usize]);
        let value = item.map(|item| (parts.values.value(item), ValueType::from_byte(parts.types[item])));
        found.append_option(value.map(|(value, value_type)| sql_text(value, value_type, &mut text)));
    }
    Arc::new(found.finish())
}

fn sql_texts(values: &ArrayRef, value_type: ValueType) -> Result<ArrayRef, DataFusionError> {
    let values = cast(values, &DataType::Utf8View)?;
    let mut texts = StringViewBuilder::with_capacity(values.len());
    let mut text = String::new();
    for value in values.as_string_view() {
        texts.append_option(value.map(|value| sql_text(value, value_type, &mut text)));
    }
    Ok(Arc::new(texts.finish()))
}

/// Returns what SQL shows of a value: a string as it is, other types as they stand in JSON.
fn sql_text<'a>(value: &'a str, value_type: ValueType, text: &'a mut String) -> &'a str {
    if is_own_sql_text(value_type) {
        return value;
    }
    text.clear();
    json::write_value(text, value, value_type);
    text
}

/// Returns whether the text of a value is what SQL shows of it.
pub(super) fn is_own_sql_text(value_type: ValueType) -> bool {
    matches!(value_type, ValueType::String | ValueType::Int | ValueType::Bool)
}

fn json_of_list(lists: &ListArray) -> ArrayRef {
    let parts = Lists::of(lists);
    let mut texts = StringViewBuilder::with_capacity(lists.len());
    let mut object = ObjectWriter::default();
    for row in 0..lists.len() {
        for item in parts.items(row) {
            let value_type = ValueType::from_byte(parts.types[item]);
            object.push(parts.names.value(parts.keys[item] as usize), parts.values.value(item), value_type);
        }
        texts.append_value(object.finish());
        object.clear();
    }
    Arc::new(texts.finish())
}

fn texts(texts: &ArrayRef) -> Result<ArrayRef, DataFusionError> {
    let texts = texts.as_dictionary::<UInt32Type>();
    Ok(take(&cast(texts.values(), &DataType::Utf8View)?, texts.keys(), None)?)
}

fn attribute_of_dictionary(texts: &ArrayRef, key: &str) -> Result<ArrayRef, DataFusionError> {
    let texts = texts.as_dictionary::<UInt32Type>();
    let values = cast(texts.values(), &DataType::Utf8View)?;
    Ok(take(&values_of(values.as_string_view(), key), texts.keys(), None)?)
}

fn column_or_rest(column: &ArrayRef, rest: &ArrayRef, key: &str) -> Result<ArrayRef, DataFusionError> {
    let column = cast(column, &DataType::Utf8View)?;
    if rest.null_count() == rest.len() || column.null_count() == 0 {
        return Ok(column);
    }
    let rest = values_of(rest.as_string_view(), key);
    Ok(zip(&is_not_null(&column)?, &column, &rest)?)
}

fn json_of_columns(
    rest: &ArrayRef,
    columns: &[ArrayRef],
    promoted: &StoredColumns,
) -> Result<ArrayRef, DataFusionError> {
    let rest = rest.as_string_view();
    let columns = columns.iter().map(|column| cast(column, &DataType::Utf8View)).collect::<Result<Vec<_>, _>>()?;
    let columns: Vec<&StringViewArray> = columns.iter().map(|column| column.as_string_view()).collect();
    let mut texts = StringViewBuilder::with_capacity(rest.len());
    let mut object = ObjectWriter::default();
    for row in 0..rest.len() {
        for (column, stored) in columns.iter().zip(&promoted.0) {
            if column.is_valid(row) {
                object.push(&stored.key, column.value(row), ValueType::from_byte(stored.value_type));
            }
        }
        if rest.is_valid(row) {
            for (key, value) in json::members(rest.value(row)) {
                let (value, value_type) = json::value(value);
                object.push(&key, &value, value_type);
            }
        }
        texts.append_value(object.finish());
        object.clear();
    }
    Ok(Arc::new(texts.finish()))
}

fn words(numbers: &ArrayRef, word: impl Fn(u8) -> &'static str) -> ArrayRef {
    let numbers = numbers.as_primitive::<UInt8Type>();
    // The words are short, so a view of one is the word itself.
    Arc::new(numbers.iter().map(|number| number.map(&word)).collect::<StringViewArray>())
}

fn or_zero(counts: &ArrayRef) -> ArrayRef {
    let counts = counts.as_primitive::<UInt32Type>();
    if counts.null_count() == 0 {
        return Arc::new(counts.clone());
    }
    Arc::new(counts.iter().map(Option::unwrap_or_default).collect::<UInt32Array>())
}
