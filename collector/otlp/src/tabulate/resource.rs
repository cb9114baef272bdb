//! Who sent the items below a resource: the columns and attributes that every one of its rows repeats.

use collector_table::json::ObjectWriter;
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::tally::{Attribute, Tally, attribute_bytes};

/// What a resource without `service.name` is called (OpenTelemetry semantic conventions, "service.name").
const UNKNOWN_SERVICE: &str = "unknown_service";

/// A resource, read once for all of its items.
pub(super) struct Origin<'a> {
    pub(super) attributes: Vec<Attribute<'a>>,
    /// Memory that the resource takes in every row.
    pub(super) row_bytes: usize,
    service_name: Option<usize>,
    service_instance: Option<usize>,
    service_version: Option<usize>,
}

impl<'a> Origin<'a> {
    pub(super) fn new(resource: Option<&'a Resource>, tally: &mut Tally<'_>) -> Self {
        let sent = resource.map_or(&[][..], |resource| &resource.attributes);
        let (attributes, _) = tally.cut(sent);
        let find =
            |key: &str| attributes.iter().position(|attribute| attribute.key == key && !attribute.value.is_empty());
        let service_name = find("service.name");
        let service_instance =
            find("service.instance.id").or_else(|| find("k8s.pod.name")).or_else(|| find("host.name"));
        let service_version = find("service.version");
        let mut origin = Self { attributes, row_bytes: 0, service_name, service_instance, service_version };
        let columns = [Some(origin.service_name()), origin.service_instance(), origin.service_version()];
        let column_bytes: usize = columns.iter().flatten().map(|text| text.len()).sum();
        origin.row_bytes = attribute_bytes(&origin.attributes) + column_bytes;
        origin
    }

    pub(super) fn service_name(&self) -> &str {
        self.text(self.service_name).unwrap_or(UNKNOWN_SERVICE)
    }

    pub(super) fn service_instance(&self) -> Option<&str> {
        self.text(self.service_instance)
    }

    pub(super) fn service_version(&self) -> Option<&str> {
        self.text(self.service_version)
    }

    /// Returns all attributes as one JSON object.
    pub(super) fn attributes_json(&self) -> String {
        let mut object = ObjectWriter::default();
        for attribute in &self.attributes {
            object.push(attribute.key, &attribute.value, attribute.value_type);
        }
        object.finish().to_owned()
    }

    fn text(&self, index: Option<usize>) -> Option<&str> {
        index.map(|index| self.attributes[index].value.as_ref())
    }
}
