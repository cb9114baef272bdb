//! A deep chain of procedures, each of which asks the next, with a database that several of them share.

use crate::system::{Builder, OperationId, System, Value, call, inner, query, work};

/// Services of the chain.
const NAMES: [&str; 9] =
    ["edge", "session", "profile", "entitlement", "pricing", "inventory", "allocation", "audit-trail", "registry"];

/// Returns the chain, with six requests a second.
pub fn chain() -> System {
    let mut chain = Builder::new("deep chain");
    let shared = chain.database("core-db", "postgresql", 30);
    let select = chain.statement(shared, "SELECT core", 2.5);
    let update = chain.statement(shared, "UPDATE core", 4.0);
    let mut next: Option<OperationId> = None;
    let mut side: Option<OperationId> = None;
    for (depth, name) in NAMES.into_iter().enumerate().rev() {
        let described = chain.service(name).instances(2).workers(40);
        let service = if depth % 3 == 1 { described.old_names().id() } else { described.id() };
        let mut body = vec![work(2.0 + depth as f64 * 0.4)];
        body.extend(next.map(|next| call(next).timeout(6_000.0 - 500.0 * depth as f64).tries(2, 30.0).into()));
        match depth {
            2 | 5 => body.push(query(select)),
            7 => body.extend([query(select), query(update)]),
            4 => body.push(inner("discounts", vec![work(3.0)])),
            _ => {}
        }
        next = Some(chain.rpc(service, &format!("core.{name}/Resolve"), body));
        if depth == 2 {
            side = Some(chain.rpc(service, "core.profile/Preferences", vec![work(1.5), query(select)]));
        }
    }
    let gateway = chain.service("public-api").instances(3).workers(80).id();
    for (route, target, per_second) in [("GET /resolve", next, 4.0), ("GET /preferences", side, 2.0)] {
        let Some(target) = target else { continue };
        let entry = chain.http(gateway, route, vec![work(1.0), call(target).timeout(8_000.0).into()]);
        chain.says(entry, "org.id", Value::Tenant);
        chain.traffic(entry, per_second);
    }
    chain.build()
}
