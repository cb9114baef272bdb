//! What all spans of one kind at one place share: name, kind, and the attributes that the semantic conventions ask for,
//! under their old or their new names. Asked by the world for each span; made once.

use std::collections::BTreeMap;
use std::sync::Arc;

use collector_table::{SpanKind, ValueType};

use crate::system::{Broker, Convention, Operation, OperationId, Protocol, QueueId, ServiceId, System};

/// What a span is an instance of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Serves(OperationId),
    Calls(ServiceId, OperationId),
    Sends(ServiceId, QueueId),
    /// Works on a message of the group.
    Takes(usize),
    Inner(ServiceId, Arc<str>),
}

pub(super) type Attribute = (&'static str, Arc<str>, ValueType);

#[derive(Debug)]
pub(super) struct Site {
    pub(super) name: Arc<str>,
    pub(super) kind: SpanKind,
    pub(super) attributes: Vec<Attribute>,
    /// Key of the outcome, with the values of success and failure.
    pub(super) outcome: Option<(&'static str, [&'static str; 2])>,
}

/// All sites by number.
#[derive(Debug, Default)]
pub(super) struct Sites {
    numbers: BTreeMap<Role, u32>,
    list: Vec<Site>,
}

impl Sites {
    pub(super) fn number(&mut self, system: &System, role: Role) -> u32 {
        if let Some(number) = self.numbers.get(&role) {
            return *number;
        }
        let number = u32::try_from(self.list.len()).expect("a system has fewer places than four billion");
        self.list.push(site(system, &role));
        self.numbers.insert(role, number);
        number
    }

    pub(super) fn get(&self, number: u32) -> &Site {
        &self.list[number as usize]
    }

    /// Returns who does it and what, for people.
    pub(super) fn text(&self, system: &System, number: u32) -> String {
        let role = self.numbers.iter().find(|(_, known)| **known == number).map(|(role, _)| role);
        let service = match role {
            Some(Role::Serves(operation)) => system.operations[*operation].service,
            Some(Role::Takes(group)) => system.operations[system.groups[*group].operation].service,
            Some(Role::Calls(service, _) | Role::Sends(service, _) | Role::Inner(service, _)) => *service,
            None => return format!("site {number}"),
        };
        format!("{} {}", system.services[service].name, self.get(number).name)
    }
}

fn site(system: &System, role: &Role) -> Site {
    match role {
        Role::Serves(id) => serves(system, &system.operations[*id]),
        Role::Calls(caller, id) => calls(system, *caller, &system.operations[*id]),
        Role::Sends(service, queue) => messaging(system, *service, *queue, SpanKind::Producer),
        Role::Takes(group) => {
            let group = &system.groups[*group];
            if system.queues[group.queue].broker == Broker::Unseen {
                return plain(system.operations[group.operation].name.clone(), SpanKind::Server);
            }
            messaging(system, system.operations[group.operation].service, group.queue, SpanKind::Consumer)
        }
        Role::Inner(_, name) => plain(name.clone(), SpanKind::Internal),
    }
}

fn plain(name: Arc<str>, kind: SpanKind) -> Site {
    Site { name, kind, attributes: Vec::new(), outcome: None }
}

fn text(key: &'static str, value: &str) -> Attribute {
    (key, value.into(), ValueType::String)
}

/// Returns one of two names by convention.
fn by(convention: Convention, old: &'static str, new: &'static str) -> &'static str {
    if convention == Convention::Old { old } else { new }
}

fn serves(system: &System, operation: &Operation) -> Site {
    let convention = system.services[operation.service].convention;
    let mut site = plain(operation.name.clone(), SpanKind::Server);
    match operation.protocol {
        Protocol::Http => {
            let (method, route) = operation.name.split_once(' ').unwrap_or(("GET", &operation.name));
            site.attributes.push(text(by(convention, "http.method", "http.request.method"), method));
            site.attributes.push(text("http.route", route));
            site.attributes.push(text(by(convention, "http.scheme", "url.scheme"), "http"));
            site.outcome = Some((by(convention, "http.status_code", "http.response.status_code"), ["200", "500"]));
        }
        Protocol::Rpc => add_procedure(&mut site, &operation.name),
        Protocol::Query | Protocol::Message | Protocol::Timer => site.kind = SpanKind::Internal,
    }
    site
}

fn calls(system: &System, caller: ServiceId, operation: &Operation) -> Site {
    let convention = system.services[caller].convention;
    let target = &system.services[operation.service];
    let mut site = plain(operation.name.clone(), SpanKind::Client);
    let address = by(convention, "net.peer.name", "server.address");
    match operation.protocol {
        Protocol::Http => {
            let (method, route) = operation.name.split_once(' ').unwrap_or(("GET", &operation.name));
            site.name = if convention == Convention::Old { format!("HTTP {method}").into() } else { method.into() };
            site.attributes.push(text(by(convention, "http.method", "http.request.method"), method));
            let url = format!("http://{}{route}", target.name);
            site.attributes.push(text(by(convention, "http.url", "url.full"), &url));
            site.attributes.push(text(address, &target.name));
            site.outcome = Some((by(convention, "http.status_code", "http.response.status_code"), ["200", "503"]));
        }
        Protocol::Query => {
            let (verb, of) = operation.name.split_once(' ').unwrap_or((&operation.name, ""));
            let database = target.database.as_deref().unwrap_or("other_sql");
            site.attributes.push(text(by(convention, "db.system", "db.system.name"), database));
            site.attributes.push(text(by(convention, "db.operation", "db.operation.name"), verb));
            if !of.is_empty() {
                site.attributes.push(text(by(convention, "db.sql.table", "db.collection.name"), of));
            }
            site.attributes.push(text(by(convention, "db.name", "db.namespace"), &target.name));
            site.attributes.push(text(address, &target.name));
        }
        Protocol::Rpc | Protocol::Message | Protocol::Timer => {
            add_procedure(&mut site, &operation.name);
            site.attributes.push(text(address, &target.name));
        }
    }
    site
}

fn add_procedure(site: &mut Site, name: &str) {
    let (service, method) = name.split_once('/').unwrap_or(("", name));
    site.attributes.extend([text("rpc.system", "grpc"), text("rpc.service", service), text("rpc.method", method)]);
    site.outcome = Some(("rpc.grpc.status_code", ["0", "14"]));
}

fn messaging(system: &System, service: ServiceId, queue: QueueId, kind: SpanKind) -> Site {
    let (convention, queue) = (system.services[service].convention, &system.queues[queue]);
    let is_sent = kind == SpanKind::Producer;
    let name = match (convention, is_sent) {
        (Convention::Old, true) => format!("{} publish", queue.name),
        (Convention::Old, false) => format!("{} process", queue.name),
        (Convention::New, true) => format!("send {}", queue.name),
        (Convention::New, false) => format!("process {}", queue.name),
    };
    let broker = match queue.broker {
        Broker::Kafka => "kafka",
        Broker::Rabbit => "rabbitmq",
        Broker::Sqs => "aws_sqs",
        Broker::Unseen => "unseen",
    };
    let mut site = plain(name.into(), kind);
    let destination = by(convention, "messaging.destination", "messaging.destination.name");
    site.attributes.extend([text("messaging.system", broker), text(destination, &queue.name)]);
    let operation = by(convention, "messaging.operation", "messaging.operation.type");
    let sent = by(convention, "publish", "send");
    site.attributes.push(text(operation, if is_sent { sent } else { "process" }));
    site
}
