//! The resource and the scope of what is below them, read once for all of it; a resource that many requests come with,
//! once for many of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use collector_table::ResourceFields;
use collector_table::json::ObjectWriter;

use super::attribute::{Attribute, Cutter};
use crate::Limits;
use crate::tally::Tally;
use crate::wire::{Content, Damaged, Reader};

/// Keys of which columns are made: service, then what names an instance, the first that is there, then version.
const COLUMN_KEYS: [&[u8]; 5] =
    [b"service.name", b"service.instance.id", b"k8s.pod.name", b"host.name", b"service.version"];

/// What a resource without `service.name` is called (OpenTelemetry semantic conventions, "service.name").
const UNKNOWN_SERVICE: &str = "unknown_service";

/// Depth of a resource or scope message, counted from the request (1).
const RESOURCE_DEPTH: usize = 3;
const SCOPE_DEPTH: usize = 4;

/// Bytes of the resources that a thread remembers, as sent. Beyond them it begins anew: processes come and go, and what
/// is still sent is soon known again.
const KNOWN_BYTES_MAX: usize = 256 << 10;

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// A resource.
pub(crate) struct Resource {
    attributes: String,
    columns: [Option<String>; 5],
    /// How many attributes were left out or shortened.
    pub(crate) cut: u64,
}

/// Resources by their messages, all read with the same limits.
#[derive(Default)]
struct Known {
    limits: Limits,
    resources: HashMap<Box<[u8]>, Rc<Resource>>,
    bytes: usize,
}

impl Resource {
    /// Returns what the message says, which this thread may have read before.
    pub(crate) fn read(message: &[u8], limits: &Limits) -> Result<Rc<Self>, Damaged> {
        KNOWN.with_borrow_mut(|known| known.resource(message, limits))
    }

    fn parse(message: &[u8], limits: &Limits) -> Result<Self, Damaged> {
        let mut attributes = ObjectWriter::default();
        let mut columns = [const { None }; 5];
        let mut cutter = Cutter::new(limits);
        let mut message = Reader::new(message);
        while let Some((number, content)) = message.field()? {
            match number {
                1 => {
                    let Some(attribute) = cutter.read(content, RESOURCE_DEPTH)? else { continue };
                    attribute.write_json(&mut attributes)?;
                    note_column(&attribute, &mut columns)?;
                }
                2 => drop(content.varint()?),
                3 => check_entity(content.message()?)?,
                _ => {}
            }
        }
        Ok(Self { attributes: attributes.finish().to_owned(), columns, cut: cutter.cut })
    }

    /// Gives the resource to a table, which numbers it. Called once for each place in a request.
    pub(crate) fn register(&self, tally: &mut Tally, intern: impl FnOnce(&ResourceFields<'_>) -> u32) -> u32 {
        let [service_name, id, pod, host, service_version] = &self.columns;
        let fields = ResourceFields {
            service_name: service_name.as_deref().unwrap_or(UNKNOWN_SERVICE),
            service_instance: id.as_deref().or(pod.as_deref()).or(host.as_deref()),
            service_version: service_version.as_deref(),
            attributes: &self.attributes,
        };
        tally.take(fields.attributes.len());
        intern(&fields)
    }
}

fn note_column(attribute: &Attribute<'_>, columns: &mut [Option<String>; 5]) -> Result<(), Damaged> {
    if let Some(column) = COLUMN_KEYS.iter().position(|key| *key == attribute.key)
        && columns[column].is_none()
    {
        let value = attribute.value.as_text()?;
        columns[column] = (!value.is_empty()).then(|| value.into_owned());
    }
    Ok(())
}

impl Known {
    fn resource(&mut self, message: &[u8], limits: &Limits) -> Result<Rc<Resource>, Damaged> {
        if self.limits != *limits {
            *self = Self { limits: *limits, ..Self::default() };
        }
        if let Some(known) = self.resources.get(message) {
            return Ok(Rc::clone(known));
        }
        let resource = Rc::new(Resource::parse(message, limits)?);
        if message.len() > KNOWN_BYTES_MAX {
            return Ok(resource);
        }
        if self.bytes + message.len() > KNOWN_BYTES_MAX {
            self.resources.clear();
            self.bytes = 0;
        }
        self.bytes += message.len();
        self.resources.insert(message.into(), Rc::clone(&resource));
        Ok(resource)
    }
}

fn check_entity(mut message: Reader<'_>) -> Result<(), Damaged> {
    while let Some((number, content)) = message.field()? {
        if (1..=4).contains(&number) {
            content.text()?;
        }
    }
    Ok(())
}

/// An instrumentation scope, whose messages may be several.
#[derive(Clone, Copy, Default)]
pub(super) struct Scope<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
}

impl<'a> Scope<'a> {
    pub(super) fn read(&mut self, content: Content<'a>, limits: &Limits) -> Result<(), Damaged> {
        let mut message = content.message()?;
        while let Some((number, content)) = message.field()? {
            match number {
                1 => self.name = content.text()?,
                2 => self.version = content.text()?,
                // Not kept, but what is not OTLP is refused wherever it is.
                3 => Attribute::read(content.bytes()?, SCOPE_DEPTH, limits)?.check()?,
                4 => drop(content.varint()?),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
    use opentelemetry_proto::tonic::resource::v1;
    use prost::Message;

    use super::*;

    fn service(name: &str) -> Vec<u8> {
        let value = Some(AnyValue { value: Some(any_value::Value::StringValue(name.to_owned())) });
        let attribute = KeyValue { key: "service.name".to_owned(), value, ..KeyValue::default() };
        v1::Resource { attributes: vec![attribute], ..v1::Resource::default() }.encode_to_vec()
    }

    #[test]
    fn resource_is_known_again_and_read_anew_with_other_limits() {
        let (mut known, limits) = (Known::default(), Limits::default());
        let orders = known.resource(&service("orders"), &limits).unwrap();
        assert!(Rc::ptr_eq(&orders, &known.resource(&service("orders"), &limits).unwrap()));
        let stock = known.resource(&service("stock"), &limits).unwrap();
        assert_eq!([&orders, &stock].map(|it| it.columns[0].as_deref()), [Some("orders"), Some("stock")]);
        let cut = known.resource(&service("orders"), &Limits { attribute_bytes_max: 3, ..limits }).unwrap();
        assert_eq!((cut.attributes.as_str(), cut.cut), (r#"{"ser":"ord"}"#, 1));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut known, limits) = (Known::default(), Limits::default());
        let bytes = KNOWN_BYTES_MAX / 10;
        for number in 0..100 {
            known.resource(&service(&format!("{number:0bytes$}")), &limits).unwrap();
            assert!(known.bytes <= KNOWN_BYTES_MAX && known.resources.len() < 10);
        }
        known.resource(&service(&"x".repeat(KNOWN_BYTES_MAX)), &limits).unwrap();
        assert!(known.resources.keys().all(|message| message.len() < 2 * bytes));
    }

    #[test]
    fn damaged_resource_is_refused_each_time() {
        let mut known = Known::default();
        for _ in 0..2 {
            assert!(known.resource(&[0x0a, 5, 1], &Limits::default()).is_err());
        }
        assert!(known.resources.is_empty());
    }
}
