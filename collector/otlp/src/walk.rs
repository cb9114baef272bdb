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

use collector_table::ResourceFields;
use origin::Scope;

use crate::Limits;
use crate::tally::{Tally, present};
use crate::wire::{Content, Damaged, Reader};

/// Where items come from. The table's numbers of resource and scope are given when the first of their items is good.
struct Origin<'a, 'l> {
    resource: Resource<'l>,
    resource_number: Option<u32>,
    scope: Scope<'a>,
    scope_number: Option<u32>,
}

impl Origin<'_, '_> {
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
    fn read(&mut self, item: Content<'a>, origin: &mut Origin<'a, '_>, tally: &mut Tally) -> Result<(), Damaged>;
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

/// Returns how many items a request has, up to where it is damaged.
fn count(body: &[u8]) -> usize {
    let mut count = 0;
    let mut resources = Reader::new(body);
    while let Ok(Some((number, resource))) = resources.field() {
        let Ok(mut scopes) = resource.message() else { break };
        while number == 1
            && let Ok(Some((number, scope))) = scopes.field()
        {
            let Ok(mut items) = scope.message() else { continue };
            while number == 2
                && let Ok(Some((number, _))) = items.field()
            {
                count += usize::from(number == 2);
            }
        }
    }
    count
}

/// Walks over a `ResourceSpans` or `ResourceLogs`; twice, because the resource may lie behind what it is of.
fn resource_items<'a>(
    message: Reader<'a>,
    limits: &Limits,
    items: &mut impl Items<'a>,
    tally: &mut Tally,
) -> Result<(), Damaged> {
    let resource = Resource::new(limits);
    let mut origin = Origin { resource, resource_number: None, scope: Scope::default(), scope_number: None };
    let mut fields = message;
    while let Some((number, content)) = fields.field()? {
        match number {
            1 => origin.resource.read(content)?,
            3 => drop(content.text()?),
            _ => {}
        }
    }
    tally.cut_attributes += origin.resource.cut();
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
    origin: &mut Origin<'a, '_>,
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
