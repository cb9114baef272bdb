//! From protobuf bytes to rows in one walk: no tree of messages, nothing allocated for an item. Called by `decode`.
//! A message's fields may come in any order and more than once; what that means is protobuf's rule, as prost follows it.
//! Must never recurse over input: values of values are left to `values`, which checks their depth before.

mod attribute;
mod logs;
mod origin;
mod spans;

pub(crate) use logs::logs;
pub(crate) use origin::Resource;
pub(crate) use spans::spans;

use std::rc::Rc;

use attribute::join;
use collector_table::ResourceFields;
use origin::Scope;

use crate::Limits;
use crate::tally::{Tally, present};
use crate::wire::{Content, Damaged, Reader};

/// Where items come from. The table's numbers of resource and scope are given when the first of their items is good.
struct Origin<'a> {
    resource: Rc<Resource>,
    resource_number: Option<u32>,
    scope: Scope<'a>,
    scope_number: Option<u32>,
}

impl Origin<'_> {
    /// Returns the table's number of the resource.
    fn resource_number(&mut self, tally: &mut Tally, intern: impl FnOnce(&ResourceFields<'_>) -> u32) -> u32 {
        *self.resource_number.get_or_insert_with(|| self.resource.register(tally, intern))
    }

    /// Returns the table's number of the scope, which is interned by name and version.
    fn scope_number(&mut self, tally: &mut Tally, intern: impl FnOnce(Option<&str>, Option<&str>) -> u32) -> u32 {
        let Scope { name, version } = self.scope;
        *self.scope_number.get_or_insert_with(|| {
            tally.take(name.len() + version.len());
            intern(present(name), present(version))
        })
    }
}

/// What reads the items of one signal.
trait Items<'a> {
    /// Reads one item into a row, or counts it as rejected.
    fn read(&mut self, item: Content<'a>, origin: &mut Origin<'a>, tally: &mut Tally) -> Result<(), Damaged>;
}

/// Walks over a request. Requests of spans and of log records have the same upper levels, with the same field numbers.
fn request<'a>(body: &'a [u8], limits: &Limits, items: &mut impl Items<'a>, tally: &mut Tally) -> Result<(), Damaged> {
    let mut fields = Reader::new(body);
    while let Some((number, content)) = fields.field()? {
        if number == 1 {
            resource_items(content.message()?, limits, items, tally)?;
        }
    }
    Ok(())
}

/// Items of a request that are counted to know about how many there are.
const COUNTED_ITEMS: usize = 256;

/// Returns about how many items a request has: the first of them are counted, and what follows is taken to be alike. To
/// count them all would be to read the whole request once more.
fn estimate(body: &[u8]) -> usize {
    let begin = body.as_ptr().addr();
    let (mut count, mut read) = (0, 0);
    let mut resources = Reader::new(body);
    'counting: while let Ok(Some((number, resource))) = resources.field() {
        let Ok(mut scopes) = resource.message() else { break };
        while number == 1
            && let Ok(Some((number, scope))) = scopes.field()
        {
            let Ok(mut items) = scope.message() else { continue };
            while number == 2
                && let Ok(Some((number, item))) = items.field()
            {
                let Ok(item) = item.bytes() else { continue };
                count += usize::from(number == 2);
                read = item.as_ptr_range().end.addr() - begin;
                if count == COUNTED_ITEMS {
                    break 'counting;
                }
            }
        }
    }
    if count < COUNTED_ITEMS {
        return count;
    }
    // A little more: one row too many doubles a column.
    let about = count * body.len() / read.max(1);
    about + about / 16
}

/// Walks over a `ResourceSpans` or `ResourceLogs`; twice, because the resource may lie behind what it is of.
fn resource_items<'a>(
    message: Reader<'a>,
    limits: &Limits,
    items: &mut impl Items<'a>,
    tally: &mut Tally,
) -> Result<(), Damaged> {
    let mut resource: Option<&[u8]> = None;
    let mut pieces: Vec<u8> = Vec::new();
    let mut fields = message;
    while let Some((number, content)) = fields.field()? {
        match number {
            1 => {
                if let Some(before) = resource.replace(content.bytes()?) {
                    join(&mut pieces, before, content.message()?)?;
                }
            }
            3 => drop(content.text()?),
            _ => {}
        }
    }
    let resource = if pieces.is_empty() { resource.unwrap_or_default() } else { &pieces };
    let resource = Resource::read(resource, limits)?;
    tally.cut_attributes += resource.cut;
    let mut origin = Origin { resource, resource_number: None, scope: Scope::default(), scope_number: None };
    let mut fields = message;
    while let Some((number, content)) = fields.field()? {
        if number == 2 {
            scope_items(content.message()?, limits, &mut origin, items, tally)?;
        }
    }
    Ok(())
}

/// Walks over a `ScopeSpans` or `ScopeLogs`; twice, because the scope may lie behind what it is of.
fn scope_items<'a>(
    message: Reader<'a>,
    limits: &Limits,
    origin: &mut Origin<'a>,
    items: &mut impl Items<'a>,
    tally: &mut Tally,
) -> Result<(), Damaged> {
    origin.scope = Scope::default();
    origin.scope_number = None;
    let mut fields = message;
    while let Some((number, content)) = fields.field()? {
        match number {
            1 => origin.scope.read(content, limits)?,
            3 => drop(content.text()?),
            _ => {}
        }
    }
    let mut fields = message;
    while let Some((number, content)) = fields.field()? {
        if number == 2 {
            items.read(content, origin, tally)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message;

    use super::{COUNTED_ITEMS, estimate};

    /// A request of as many resources, each with as many spans; their sizes repeat.
    fn request(resources: usize, spans: usize) -> Vec<u8> {
        let span = |number: usize| Span { name: "x".repeat(number % 7 * 20), ..Span::default() };
        let scope = ScopeSpans { spans: (0..spans).map(span).collect(), ..ScopeSpans::default() };
        let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![resource; resources] }.encode_to_vec()
    }

    #[test]
    fn few_items_are_counted_and_many_estimated_with_some_to_spare() {
        assert_eq!(estimate(&[]), 0);
        assert_eq!(estimate(&request(5, 40)), 200);
        assert_eq!(estimate(&request(1, COUNTED_ITEMS - 1)), COUNTED_ITEMS - 1);
        for (resources, spans) in [(1, 8_192), (100, 82), (8_192, 1)] {
            let (estimate, count) = (estimate(&request(resources, spans)), resources * spans);
            assert!((count..count * 9 / 8).contains(&estimate), "{estimate} of {count}");
        }
    }

    #[test]
    fn damaged_request_is_estimated_by_what_is_read_of_it() {
        let body = request(2, 30);
        assert_eq!(estimate(&body[..body.len() - 1]), 30);
    }
}
