//! Attributes of a batch's rows: a list of key, value as text, and OTLP type. Keys are kept once a batch.
//! Filled by the span, log and metric builders; [`AttributeColumns`] reads whole batches, [`Attributes`] one row.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, DictionaryArray, ListArray, PrimitiveArray, StringArray, StructArray, UInt8Array};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, UInt8Type, UInt32Type};

use crate::NotUtf8;
use crate::columns::{CHECKED, UncheckedTexts, text_dictionary};
use crate::dictionary::{Dictionary, refer};
use crate::json::{self, ObjectWriter};

/// Why a builder's texts cannot be anything else.
pub(crate) const PUSHED_AS_TEXT: &str = "what was pushed as text is UTF-8";

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
    /// `array_value` or `kvlist_value`, as OTLP/JSON-like plain JSON; `null` when there is no value.
    Json,
}

impl ValueType {
    /// Returns the letter that names this type in columns.
    pub fn letter(self) -> char {
        char::from(self.byte())
    }

    /// Returns the letter as its ASCII byte, as the memory form's `type` holds it.
    pub fn byte(self) -> u8 {
        match self {
            Self::String => b's',
            Self::Int => b'i',
            Self::Double => b'd',
            Self::Bool => b'b',
            Self::Bytes => b'y',
            Self::Json => b'j',
        }
    }

    /// Returns the type for a letter's byte; an unknown letter is a string.
    pub fn from_byte(letter: u8) -> Self {
        match letter {
            b'i' => Self::Int,
            b'd' => Self::Double,
            b'b' => Self::Bool,
            b'y' => Self::Bytes,
            b'j' => Self::Json,
            _ => Self::String,
        }
    }
}

fn entry_fields() -> Fields {
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
        Fields::from(vec![
            Field::new("key", text_dictionary(), false),
            Field::new("value", DataType::Utf8, false),
            Field::new("type", DataType::UInt8, false),
        ])
    });
    FIELDS.clone()
}

fn item_field() -> FieldRef {
    static FIELD: LazyLock<FieldRef> =
        LazyLock::new(|| Arc::new(Field::new("item", DataType::Struct(entry_fields()), false)));
    FIELD.clone()
}

/// Arrow type of the memory form's `attributes`.
pub(crate) fn list_type() -> DataType {
    DataType::List(item_field())
}

/// Builds the attributes of row after row.
pub struct AttributesBuilder {
    names: Dictionary<1>,
    keys: Vec<u32>,
    values: UncheckedTexts,
    types: Vec<u8>,
    offsets: Vec<i32>,
}

impl Default for AttributesBuilder {
    fn default() -> Self {
        Self {
            names: Dictionary::new([false]),
            keys: Vec::new(),
            values: UncheckedTexts::default(),
            types: Vec::new(),
            offsets: vec![0],
        }
    }
}

impl AttributesBuilder {
    /// Makes room for so many rows, and for attributes whose values are of so many bytes together.
    pub(crate) fn reserve(&mut self, rows: usize, attributes: usize, bytes: usize) {
        self.offsets.reserve_exact(rows);
        self.keys.reserve_exact(attributes);
        self.types.reserve_exact(attributes);
        self.values.reserve(attributes, bytes);
    }

    /// Returns the number of a key, for [`Self::push_keyed`].
    ///
    /// # Errors
    /// If the key is not UTF-8.
    #[inline]
    pub fn key(&mut self, key: &[u8]) -> Result<u32, NotUtf8> {
        self.names.intern_bytes([key])
    }

    /// Appends an attribute, whose key's number is known, to the row that is being built. Whether the value is UTF-8 is
    /// seen at the end.
    #[inline]
    pub fn push_keyed(&mut self, key: u32, value: &[u8], value_type: ValueType) {
        self.keys.push(key);
        self.values.push(value);
        self.types.push(value_type.byte());
    }

    /// Appends an attribute to the row that is being built.
    pub fn push(&mut self, key: &str, value: &str, value_type: ValueType) {
        let key = self.names.intern([key]);
        self.push_keyed(key, value.as_bytes(), value_type);
    }

    /// Appends the members of a JSON object to the row that is being built.
    pub fn push_json(&mut self, object: &str) {
        for (key, value) in json::members(object) {
            let (value, value_type) = json::value(value);
            self.push(&key, &value, value_type);
        }
    }

    /// Ends the row.
    pub fn finish_row(&mut self) {
        self.offsets.push(i32::try_from(self.keys.len()).expect("a batch is smaller than an Arrow offset can say"));
    }

    /// Returns the rows.
    ///
    /// # Errors
    /// If a value is not UTF-8.
    pub fn finish(self) -> Result<ListArray, NotUtf8> {
        let Self { names, keys, values, types, offsets } = self;
        let [names] = names.finish();
        let columns: Vec<ArrayRef> = vec![
            refer(&PrimitiveArray::new(keys.into(), None), &names),
            Arc::new(values.finish()?),
            Arc::new(UInt8Array::new(types.into(), None)),
        ];
        let entries = StructArray::new(entry_fields(), columns, None);
        Ok(ListArray::new(item_field(), OffsetBuffer::new(ScalarBuffer::from(offsets)), Arc::new(entries), None))
    }
}

/// Returns one row of attributes for each object.
pub(crate) fn of_objects<'a>(objects: impl Iterator<Item = &'a str>) -> ListArray {
    let mut attributes = AttributesBuilder::default();
    for object in objects {
        attributes.push_json(object);
        attributes.finish_row();
    }
    attributes.finish().expect(PUSHED_AS_TEXT)
}

/// The attributes of a batch, column by column. An entry's key is a number below `names.len()`.
#[derive(Clone, Copy)]
pub struct AttributeColumns<'a> {
    /// Where a row's entries begin; the next row's beginning is their end.
    pub offsets: &'a [i32],
    /// Keys that entries refer to.
    pub names: &'a StringArray,
    /// Key of each entry.
    pub keys: &'a [u32],
    /// Value of each entry as text.
    pub values: &'a StringArray,
    /// Letter of each entry's type.
    pub types: &'a [u8],
}

impl<'a> AttributeColumns<'a> {
    /// Returns the columns of a memory form's `attributes`, whose type was checked.
    pub(crate) fn of(list: &'a ListArray) -> Self {
        let entries = list.values().as_any().downcast_ref::<StructArray>().expect(CHECKED);
        let keys = entries.column(0).as_any().downcast_ref::<DictionaryArray<UInt32Type>>().expect(CHECKED);
        let types = entries.column(2).as_any().downcast_ref::<PrimitiveArray<UInt8Type>>().expect(CHECKED);
        Self {
            offsets: list.value_offsets(),
            names: keys.values().as_any().downcast_ref().expect(CHECKED),
            keys: keys.keys().values(),
            values: entries.column(1).as_any().downcast_ref().expect(CHECKED),
            types: types.values(),
        }
    }

    /// Returns the number of a key, if any entry of the batch may have it.
    pub fn key(&self, name: &str) -> Option<u32> {
        (0..self.names.len()).find(|index| self.names.value(*index) == name).and_then(|index| u32::try_from(index).ok())
    }

    /// Returns the attributes of a row.
    pub fn row(&self, row: usize) -> Attributes<'a> {
        let bound = |row: usize| usize::try_from(self.offsets[row]).unwrap_or(0);
        Attributes { columns: *self, from: bound(row), to: bound(row + 1) }
    }
}

/// Attributes of one row.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    columns: AttributeColumns<'a>,
    from: usize,
    to: usize,
}

impl<'a> Attributes<'a> {
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
        let columns = self.columns;
        (self.from..self.to).map(move |index| {
            let key = columns.names.value(columns.keys[index] as usize);
            (key, columns.values.value(index), ValueType::from_byte(columns.types[index]))
        })
    }

    /// Returns the number of the key ([`AttributeColumns::names`]) and the value as text, in the order received.
    pub fn keyed(&self) -> impl Iterator<Item = (u32, &'a str)> + use<'a> {
        let columns = self.columns;
        (self.from..self.to).map(move |index| (columns.keys[index], columns.values.value(index)))
    }

    /// Appends the attributes to an object that is being written.
    pub fn write_json(&self, object: &mut ObjectWriter) {
        for (key, value, value_type) in self.iter() {
            object.push(key, value, value_type);
        }
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
