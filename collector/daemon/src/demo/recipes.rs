//! What the simulated shop does, as data: services, and for each transaction type which step calls which.
//! Read by `shop`, which plays it. Must never decide times of day or ids: that is the player's part.

use super::shop::Slowdown;

/// What turns slow. The version and the factor show from `from_ns` on, which the plan sets.
pub(super) const SLOW: Slowdown = Slowdown {
    service: "payment",
    operation: "POST /charges",
    factor: 8.0,
    version: "2.9.0",
    log: "connection pool exhausted, waited {wait} ms for one of 2 connections",
    from_ns: u64::MAX,
};

/// A service of the shop.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) language: &'static str,
    pub(super) instances: u64,
}

/// Something that a service does when asked: a request it serves or a message it consumes.
pub(super) struct Step {
    pub(super) service: &'static str,
    /// Method and route, or `process` and topic.
    pub(super) operation: &'static str,
    /// Median of the service's own work, milliseconds, shared out before, between and after its calls.
    pub(super) own_ms: f64,
    pub(super) calls: &'static [Call],
    /// What it writes to its log when done.
    pub(super) log: Option<&'static str>,
}

/// What a step needs from others.
pub(super) enum Call {
    /// A request to another service over HTTP.
    Http(&'static Step),
    /// A query; `target` is the table or key, `median_ms` the database's time.
    Query { system: &'static str, server: &'static str, verb: &'static str, target: &'static str, median_ms: f64 },
    /// A request to someone who sends no telemetry.
    Outside { server: &'static str, method: &'static str, path: &'static str, median_ms: f64 },
    /// A message that another service consumes later.
    Publish { topic: &'static str, consumer: &'static Step },
    /// Calls that are made at the same time.
    AtOnce(&'static [Call]),
}

/// A transaction type and its share of the traffic.
pub(super) struct Entry {
    pub(super) step: &'static Step,
    /// Shares add up to 1.
    pub(super) share: f64,
}

/// Returns the shop's services.
pub(super) fn services() -> &'static [Service] {
    &SERVICES
}

/// Returns the service with this name.
pub(super) fn service(name: &str) -> &'static Service {
    SERVICES.iter().find(|service| service.name == name).expect("recipes only name services of the shop; a test checks")
}

/// Returns what customers do.
pub(super) fn entries() -> &'static [Entry] {
    &ENTRIES
}

static SERVICES: [Service; 9] = [
    Service { name: "gateway", version: "5.1.0", language: "go", instances: 2 },
    Service { name: "catalog", version: "3.4.2", language: "java", instances: 3 },
    Service { name: "cart", version: "1.12.0", language: "nodejs", instances: 2 },
    Service { name: "checkout", version: "4.0.3", language: "java", instances: 3 },
    Service { name: "pricing", version: "2.2.1", language: "python", instances: 2 },
    Service { name: "inventory", version: "6.3.0", language: "go", instances: 2 },
    Service { name: "payment", version: "2.8.4", language: "java", instances: 2 },
    Service { name: "orders", version: "3.0.9", language: "dotnet", instances: 2 },
    Service { name: "fulfilment", version: "1.7.5", language: "python", instances: 2 },
];

static ENTRIES: [Entry; 4] = [
    Entry { step: &BROWSE, share: 0.40 },
    Entry { step: &SHOW_CART, share: 0.25 },
    Entry { step: &CHECKOUT, share: 0.20 },
    Entry { step: &SHOW_ORDER, share: 0.15 },
];

static BROWSE: Step = Step {
    service: "gateway",
    operation: "GET /products",
    own_ms: 2.0,
    log: None,
    calls: &[Call::Http(&Step {
        service: "catalog",
        operation: "GET /products",
        own_ms: 6.0,
        log: None,
        calls: &[query("redis", "catalog-cache", "GET", "products", 0.8), Call::Http(&PRICES)],
    })],
};

static SHOW_CART: Step =
    Step { service: "gateway", operation: "GET /cart", own_ms: 2.0, log: None, calls: &[Call::Http(&CART)] };

static SHOW_ORDER: Step = Step {
    service: "gateway",
    operation: "GET /orders/{id}",
    own_ms: 2.0,
    log: None,
    calls: &[Call::Http(&Step {
        service: "orders",
        operation: "GET /orders/{id}",
        own_ms: 5.0,
        log: None,
        calls: &[query("postgresql", "orders-db", "SELECT", "orders", 4.0)],
    })],
};

static CHECKOUT: Step = Step {
    service: "gateway",
    operation: "POST /checkout",
    own_ms: 3.0,
    log: None,
    calls: &[Call::Http(&Step {
        service: "checkout",
        operation: "POST /checkout",
        own_ms: 12.0,
        log: Some("order {order} accepted"),
        calls: &[
            Call::Http(&CART),
            Call::AtOnce(&[Call::Http(&PRICES), Call::Http(&RESERVE)]),
            Call::Http(&CHARGE),
            Call::Http(&PLACE_ORDER),
        ],
    })],
};

static CART: Step = Step {
    service: "cart",
    operation: "GET /carts/{id}",
    own_ms: 4.0,
    log: None,
    calls: &[query("redis", "cart-store", "HGETALL", "cart", 1.0)],
};

static PRICES: Step = Step {
    service: "pricing",
    operation: "POST /quotes",
    own_ms: 9.0,
    log: None,
    calls: &[query("postgresql", "pricing-db", "SELECT", "prices", 3.0)],
};

static RESERVE: Step = Step {
    service: "inventory",
    operation: "POST /reservations",
    own_ms: 6.0,
    log: Some("stock reserved for order {order}"),
    calls: &[
        query("postgresql", "inventory-db", "SELECT", "stock", 3.0),
        query("postgresql", "inventory-db", "UPDATE", "stock", 5.0),
    ],
};

static CHARGE: Step = Step {
    service: "payment",
    operation: "POST /charges",
    own_ms: 24.0,
    log: Some("card charged for order {order}"),
    calls: &[
        Call::Outside { server: "api.bank.example", method: "POST", path: "/v2/authorisations", median_ms: 45.0 },
        query("postgresql", "payment-db", "INSERT", "charges", 4.0),
    ],
};

static PLACE_ORDER: Step = Step {
    service: "orders",
    operation: "POST /orders",
    own_ms: 7.0,
    log: None,
    calls: &[
        query("postgresql", "orders-db", "INSERT", "orders", 5.0),
        Call::Publish { topic: "orders.placed", consumer: &FULFIL },
    ],
};

static FULFIL: Step = Step {
    service: "fulfilment",
    operation: "process orders.placed",
    own_ms: 18.0,
    log: Some("parcel for order {order} is on its way"),
    calls: &[query("postgresql", "fulfilment-db", "INSERT", "parcels", 6.0)],
};

const fn query(
    system: &'static str,
    server: &'static str,
    verb: &'static str,
    target: &'static str,
    median_ms: f64,
) -> Call {
    Call::Query { system, server, verb, target, median_ms }
}
