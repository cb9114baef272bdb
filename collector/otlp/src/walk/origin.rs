//! The resource and the scope of what is below them, read once for all of it.

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

/// A resource, whose messages may be several.
pub(crate) struct Resource<'l> {
    attributes: ObjectWriter,
    columns: [Option<String>; 5],
    cutter: Cutter<'l>,
}

impl<'l> Resource<'l> {
    pub(crate) fn new(limits: &'l Limits) -> Self {
        let columns = [const { None }; 5];
        Self { attributes: ObjectWriter::default(), columns, cutter: Cutter::new(limits) }
    }

    pub(crate) fn read(&mut self, content: Content<'_>) -> Result<(), Damaged> {
        let mut message = content.message()?;
        while let Some((number, content)) = message.field()? {
            match number {
                1 => self.read_attribute(content)?,
                2 => drop(content.varint()?),
                3 => check_entity(content.message()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_attribute(&mut self, content: Content<'_>) -> Result<(), Damaged> {
        let Some(attribute) = self.cutter.read(content, RESOURCE_DEPTH)? else { return Ok(()) };
        attribute.write_json(&mut self.attributes)?;
        if let Some(column) = COLUMN_KEYS.iter().position(|key| *key == attribute.key)
            && self.columns[column].is_none()
        {
            let value = attribute.value.as_text()?;
            self.columns[column] = (!value.is_empty()).then(|| value.into_owned());
        }
        Ok(())
    }

    /// Returns how many attributes were left out or shortened.
    pub(crate) fn cut(&self) -> u64 {
        self.cutter.cut
    }

    /// Gives the resource to a table, which numbers it. Called once.
    pub(crate) fn register(&mut self, tally: &mut Tally, intern: impl FnOnce(&ResourceFields<'_>) -> u32) -> u32 {
        let [service_name, id, pod, host, service_version] = &self.columns;
        let fields = ResourceFields {
            service_name: service_name.as_deref().unwrap_or(UNKNOWN_SERVICE),
            service_instance: id.as_deref().or(pod.as_deref()).or(host.as_deref()),
            service_version: service_version.as_deref(),
            attributes: self.attributes.finish(),
        };
        tally.take(fields.attributes.len());
        intern(&fields)
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
