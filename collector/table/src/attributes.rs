//! Attributes as two columns: a map of text to text that SQL reads as `attributes['order.id']`, and a column
//! with one letter a value that keeps its OTLP type, null when all values are strings.
//! The builder is filled by the span, log and metric builders; `Attributes` is one row of it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, MapArray, MapBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Fields};

/// OTLP type of an attribute's value (`AnyValue` in opentelemetry/proto/common/v1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// `string_value`.
    String,
    /// `int_value`, printed in decimal.
    Int,
    /// `double_value`, printed as the shortest text that reads back the same.
    Double,
    /// `bool_value`: `true` or `false`.
    Bool,
    /// `bytes_value`, in base64.
    Bytes,
    /// `array_value` or `kvlist_value`, as OTLP/JSON-like plain JSON.
    Json,
}

impl ValueType {
    /// Returns the letter that the `attribute_types` column holds for this type.
    pub fn letter(self) -> char {
        match self {
            Self::String => 's',
            Self::Int => 'i',
            Self::Double => 'd',
            Self::Bool => 'b',
            Self::Bytes => 'y',
            Self::Json => 'j',
        }
    }

    /// Returns the type for a letter; an unknown letter is a string.
    pub fn from_letter(letter: char) -> Self {
        match letter {
            'i' => Self::Int,
            'd' => Self::Double,
            'b' => Self::Bool,
            'y' => Self::Bytes,
            'j' => Self::Json,
            _ => Self::String,
        }
    }
}

/// Arrow type of an attribute map.
pub(crate) fn map_type() -> DataType {
    let entries =
        Fields::from(vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// Builds the map column and its column of types.
pub struct AttributesBuilder {
    map: MapBuilder<StringBuilder, StringBuilder>,
    types: StringBuilder,
    row_types: String,
}

impl Default for AttributesBuilder {
    fn default() -> Self {
        Self {
            map: MapBuilder::new(None, StringBuilder::new(), StringBuilder::new()),
            types: StringBuilder::new(),
            row_types: String::new(),
        }
    }
}

impl AttributesBuilder {
    /// Appends one attribute to the row that is being built.
    pub fn push(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.map.keys().append_value(key);
        self.map.values().append_value(value);
        self.row_types.push(value_type.letter());
    }

    /// Ends the row.
    pub fn finish_row(&mut self) {
        self.map.append(true).expect("keys and values are always pushed in pairs");
        if self.row_types.chars().all(|letter| letter == 's') {
            self.types.append_null();
        } else {
            self.types.append_value(&self.row_types);
        }
        self.row_types.clear();
    }

    /// Returns the map and the types and leaves an empty builder.
    pub fn finish(&mut self) -> (ArrayRef, ArrayRef) {
        (Arc::new(self.map.finish()), Arc::new(self.types.finish()))
    }
}

/// Attributes of one row.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    keys: &'a StringArray,
    values: &'a StringArray,
    types: Option<&'a str>,
    from: usize,
    to: usize,
}

impl<'a> Attributes<'a> {
    pub(crate) fn of_row(map: &'a MapArray, types: Option<&'a StringArray>, row: usize) -> Self {
        let offsets = map.value_offsets();
        let as_strings = |array: &'a ArrayRef| {
            array.as_any().downcast_ref::<StringArray>().expect("the schema was checked when the table was opened")
        };
        Self {
            keys: as_strings(map.keys()),
            values: as_strings(map.values()),
            types: types.filter(|types| types.is_valid(row)).map(|types| types.value(row)),
            from: usize::try_from(offsets[row]).unwrap_or(0),
            to: usize::try_from(offsets[row + 1]).unwrap_or(0),
        }
    }

    /// Returns the value of the first attribute with this key.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.iter().find(|(found, _, _)| *found == key).map(|(_, value, _)| value)
    }

    /// Returns the value of the first key of the list that is present, in the order of the list.
    pub fn first_of(&self, keys: &[&str]) -> Option<&'a str> {
        keys.iter().find_map(|key| self.get(key))
    }

    /// Returns key, value as text, and type, in the order received.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str, ValueType)> + use<'a> {
        let (keys, values, from, to) = (self.keys, self.values, self.from, self.to);
        let mut letters = self.types.unwrap_or("").chars();
        (from..to).map(move |index| {
            let value_type = letters.next().map_or(ValueType::String, ValueType::from_letter);
            (keys.value(index), values.value(index), value_type)
        })
    }

    /// Returns how many attributes the row has.
    pub fn len(&self) -> usize {
        self.to - self.from
    }

    /// Returns whether the row has no attribute.
    pub fn is_empty(&self) -> bool {
        self.from == self.to
    }
}
