//! What the analysis costs at full load: CPU time a span of stitching, of detection and of counting, and memory.
//! Run with `cargo bench -p analyzer`, or with `-- joined` for the last runs only. A shop of 13 services sends 150,000
//! spans a second and more, 11 a transaction, in requests that are ordered by resource as exporters do; in the last runs
//! each second trace works on a message of the one before, which it names by a link or by an id, or each trace carries
//! the id of an order. With `-- endless`, 10⁸ spans of all of that, of which some are lost and some have names that never
//! come again, and what is resident meanwhile. Never part of the tests: it asserts nothing about time.

use analyzer::detect::{Detector, DetectorLimits};
use analyzer::hazards::Register;
use analyzer::stitch::{Stitcher, StitcherLimits};
use analyzer::{Analyzer, AnalyzerLimits, Dependencies, Transaction};
use collector_table::{
    LinkFields, LinksWriter, ResourceFields, SpanEntry, SpanId, SpanKind, SpanTable, SpanTableBuilder, StatusCode,
    TraceId, ValueType,
};
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SECONDS: i64 = 30;
const SECOND_NS: i64 = 1_000_000_000;
const BEGIN_NS: i64 = 1_700_000_000 * SECOND_NS;
/// Requests are made ahead for this long, so that making them is not measured.
const SLICE_NS: i64 = SECOND_NS / 4;
const SERVICES: [&str; 13] = [
    "frontend",
    "checkout",
    "cart",
    "catalog",
    "currency",
    "payment",
    "shipping",
    "quote",
    "email",
    "accounting",
    "recommendation",
    "ad",
    "fraud",
];
const ROUTES: [&str; 8] = ["/", "/cart", "/checkout", "/product", "/search", "/orders", "/account", "/help"];
const SPANS_PER_TRACE: usize = 11;
const TRACE_WAIT_NS: i64 = 20_000_000;
const ENDLESS_SPANS: usize = 100_000_000;
/// Of so many spans of an endless run one is lost, and of so many traces one has a name of its own.
const LOST_ONE_IN: u64 = 1_000;
const NAMED_ONE_IN: u64 = 500;

fn main() {
    let is_asked = |what: &str| std::env::args().any(|argument| argument == what);
    if is_asked("endless") {
        return endless();
    }
    if is_asked("joined") {
        return joined();
    }
    for (spans_per_second, spans_per_request) in [(150_000, 1_000), (150_000, 100), (200_000, 1_000), (400_000, 1_000)]
    {
        let shop = || Shop { spans_per_second, spans_per_request, now_ns: BEGIN_NS, number: 0, joined: Joined::No };
        println!("{spans_per_second} spans a second, {spans_per_request} a request:");
        println!("  {}", whole(shop()));
        println!("  {}", parts(shop()));
    }
    joined();
}

fn joined() {
    let (spans_per_second, spans_per_request) = (150_000, 1_000);
    for joined in [Joined::ByLinks, Joined::ByMessageIds, Joined::ByOrders] {
        println!("{spans_per_second} spans a second, {spans_per_request} a request, joined {joined:?}:");
        println!("  {}", parts(Shop { spans_per_second, spans_per_request, now_ns: BEGIN_NS, number: 0, joined }));
    }
}

/// Runs the whole analysis for long, and prints what is resident.
fn endless() {
    let mut shop = Shop {
        spans_per_second: 150_000,
        spans_per_request: 1_000,
        now_ns: BEGIN_NS,
        number: 0,
        joined: Joined::InTurn,
    };
    let mut analyzer = Analyzer::new(AnalyzerLimits::default());
    let (mut cpu_ns, mut spans, mut told) = (0, 0, 0);
    println!("endless, 150000 spans a second, 1000 a request: MiB resident after so many million spans");
    while spans < ENDLESS_SPANS {
        let slice = shop.slice();
        let begun_ns = cpu_time_ns();
        for (table, now_ns) in &slice {
            std::hint::black_box(analyzer.push(table, *now_ns));
            spans += table.len();
        }
        cpu_ns += cpu_time_ns() - begun_ns;
        if spans >= told {
            told += ENDLESS_SPANS / 20;
            println!("  {:4} {:5} MiB, {} ns a span", spans / 1_000_000, resident_kib() / 1024, cpu_ns / count(spans));
        }
    }
    let bounds = analyzer.summary().at_bounds.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>();
    println!("  at bounds {bounds:?}");
}

/// How each second trace says that it belongs to the one before.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Joined {
    No,
    ByLinks,
    ByMessageIds,
    ByOrders,
    /// Each of the others in turn, some spans lost and some names unique.
    InTurn,
}

/// Runs the whole analysis. Memory says something for the first shop only: the allocator keeps what it once had.
fn whole(mut shop: Shop) -> String {
    let mut analyzer = Analyzer::new(AnalyzerLimits::default());
    let (mut cpu_ns, mut spans, mut open, mut peak_kib) = (0, 0, 0, 0);
    let mut slice = shop.slice();
    let before_kib = resident_kib();
    while shop.now_ns < BEGIN_NS + SECONDS * SECOND_NS {
        let begun_ns = cpu_time_ns();
        for (table, now_ns) in &slice {
            analyzer.push(table, *now_ns);
            spans += table.len();
        }
        std::hint::black_box(analyzer.summary());
        cpu_ns += cpu_time_ns() - begun_ns;
        open = open.max(analyzer.summary().open_transactions);
        peak_kib = peak_kib.max(resident_kib());
        // The old requests go first, or they would count as held.
        drop(std::mem::take(&mut slice));
        slice = shop.slice();
    }
    let (peak_mib, before_mib) = (peak_kib / 1024, before_kib / 1024);
    let bounds = analyzer.summary().at_bounds.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>();
    let span_ns = cpu_ns / count(spans);
    format!(
        "all {span_ns} ns a span; {open} open at most, at bounds {bounds:?}; {peak_mib} MiB, before {before_mib} MiB"
    )
}

/// Runs stitching and detection apart.
fn parts(mut shop: Shop) -> String {
    let mut stitcher = Stitcher::new(StitcherLimits::default());
    let mut detector = Detector::new(DetectorLimits::default());
    let mut dependencies = Dependencies::default();
    let mut hazards = Register::default();
    let (mut stitch_ns, mut detect_ns, mut count_ns, mut hazards_ns) = (0, 0, 0, 0);
    let (mut spans, mut hops) = (0, 0);
    while shop.now_ns < BEGIN_NS + SECONDS * SECOND_NS {
        let slice = shop.slice();
        let mut closed: Vec<Transaction> = Vec::new();
        let begun_ns = cpu_time_ns();
        for (table, now_ns) in &slice {
            closed.extend(stitcher.push(table, *now_ns));
            closed.extend(stitcher.advance(*now_ns));
            std::hint::black_box(stitcher.take_first_seen());
        }
        let stitched_ns = cpu_time_ns();
        for transaction in &closed {
            let ended_ns = transaction.root_span().end_ns;
            detector.observe(transaction, ended_ns);
            detector.advance(ended_ns, shop.now_ns);
        }
        let detected_ns = cpu_time_ns();
        for transaction in &closed {
            dependencies.add(transaction);
        }
        // As often as the daemon keeps what is derived, or more.
        dependencies.take();
        let counted_ns = cpu_time_ns();
        for transaction in &closed {
            hazards.add(transaction, transaction.root_span().end_ns);
            hops += transaction.hops.len();
        }
        hazards_ns += cpu_time_ns() - counted_ns;
        count_ns += counted_ns - detected_ns;
        detect_ns += detected_ns - stitched_ns;
        stitch_ns += stitched_ns - begun_ns;
        spans += slice.iter().map(|(table, _)| table.len()).sum::<usize>();
    }
    let joins = stitcher.stats().joins;
    format!(
        "stitch {} ns, detect {} ns, count {} ns, hazards {} ns a span ({} a hop); {} joined, {} let go early; \
         {} traces, {} spans, {} values held, {} MiB",
        stitch_ns / count(spans),
        detect_ns / count(spans),
        count_ns / count(spans),
        hazards_ns / count(spans),
        hazards_ns / count(hops).max(1),
        joins.joined,
        joins.let_go_early,
        joins.traces,
        joins.kept_spans,
        joins.values,
        resident_kib() / 1024
    )
}

fn count(spans: usize) -> i64 {
    i64::try_from(spans).unwrap_or(i64::MAX)
}

fn cpu_time_ns() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * SECOND_NS + time.tv_nsec
}

/// Returns the memory that the process occupies, of pages of 4 KiB; 0 where the system does not say.
fn resident_kib() -> i64 {
    let mut text = [0; 128];
    let read = rustix::fs::open("/proc/self/statm", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())
        .and_then(|file| rustix::io::read(&file, &mut text));
    let pages = read.ok().and_then(|len| std::str::from_utf8(&text[..len]).ok()?.split(' ').nth(1)?.parse().ok());
    pages.unwrap_or(0) * 4
}

/// Makes requests by arithmetic, so that every run is the same.
struct Shop {
    spans_per_second: i64,
    spans_per_request: usize,
    now_ns: i64,
    number: u64,
    joined: Joined,
}

/// One span before it is written.
struct Drawn {
    joined: Joined,
    /// Whether no other span has its name.
    is_unique: bool,
    /// Message that it sent or worked on, or order that it is for.
    said: Option<u64>,
    link: Option<(TraceId, SpanId)>,
    service: usize,
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    route: usize,
    kind: SpanKind,
    times_ns: (i64, i64),
    instance: usize,
}

impl Shop {
    /// Returns the requests of the next slice of time with when they arrive.
    fn slice(&mut self) -> Vec<(SpanTable, i64)> {
        let end_ns = self.now_ns + SLICE_NS;
        let pause_ns = count(self.spans_per_request) * SECOND_NS / self.spans_per_second;
        let mut requests = Vec::new();
        while self.now_ns < end_ns {
            self.now_ns += pause_ns;
            requests.push((self.request(), self.now_ns));
        }
        requests
    }

    fn request(&mut self) -> SpanTable {
        let mut drawn = Vec::new();
        while drawn.len() < self.spans_per_request {
            self.draw_trace(&mut drawn);
        }
        drawn.truncate(self.spans_per_request);
        drawn.sort_by_key(|span| (span.service, span.instance));
        let mut builder = SpanTableBuilder::default();
        let scope = builder.scope(Some("shop"), Some("1.0"));
        for span in &drawn {
            append(&mut builder, span, scope);
        }
        builder.finish()
    }

    /// Draws a root, and pairs of a client in one service and a server in the next.
    fn draw_trace(&mut self, drawn: &mut Vec<Drawn>) {
        self.number += 1;
        let route = usize::try_from(mix(self.number) % 8).unwrap_or(0);
        let trace = trace_of(self.number);
        let is_second = self.number.is_multiple_of(2);
        let pair = self.number.div_ceil(2);
        let is_endless = self.joined == Joined::InTurn;
        let joined = match (self.joined, pair % 4) {
            (Joined::InTurn, 0) => Joined::No,
            (Joined::InTurn, 1) => Joined::ByLinks,
            (Joined::InTurn, 2) => Joined::ByMessageIds,
            (Joined::InTurn, _) => Joined::ByOrders,
            (joined, _) => joined,
        };
        let start_ns = self.now_ns - TRACE_WAIT_NS;
        let mut parent = None;
        for place in 0..SPANS_PER_TRACE {
            let salt = salt_of(self.number, place);
            let id = SpanId(salt.to_be_bytes());
            let is_end = place == if is_second { 0 } else { SPANS_PER_TRACE - 1 };
            let says = joined != Joined::No && (is_end || joined == Joined::ByOrders && place == 0);
            let links = joined == Joined::ByLinks && is_second && place == 0;
            let sender =
                (trace_of(self.number - 1), SpanId(salt_of(self.number - 1, SPANS_PER_TRACE - 1).to_be_bytes()));
            let depth_ns = count(place) * 500_000;
            let vary_ns = i64::try_from(salt % 300_000).unwrap_or(0);
            let kind = if place % 2 == 0 { SpanKind::Server } else { SpanKind::Client };
            let kind = match kind {
                _ if !is_end || matches!(joined, Joined::No | Joined::ByOrders) => kind,
                _ if is_second => SpanKind::Consumer,
                _ => SpanKind::Producer,
            };
            if is_endless && mix(salt ^ 5).is_multiple_of(LOST_ONE_IN) {
                parent = Some(id);
                continue;
            }
            drawn.push(Drawn {
                joined,
                is_unique: is_endless && place == 0 && self.number.is_multiple_of(NAMED_ONE_IN),
                said: says.then_some(pair),
                link: links.then_some(sender),
                service: (place.div_ceil(2) * (route + 1)) % SERVICES.len(),
                trace,
                id,
                parent,
                route,
                kind: if place == 0 && kind != SpanKind::Consumer { SpanKind::Server } else { kind },
                times_ns: (start_ns + depth_ns, start_ns + TRACE_WAIT_NS - depth_ns - vary_ns),
                instance: usize::try_from(salt % 3).unwrap_or(0),
            });
            parent = Some(id);
        }
    }
}

fn trace_of(number: u64) -> TraceId {
    TraceId((u128::from(mix(number)) << 64 | u128::from(mix(!number))).to_be_bytes())
}

fn salt_of(number: u64, place: usize) -> u64 {
    mix(number.wrapping_mul(31).wrapping_add(count(place).unsigned_abs()))
}

fn append(builder: &mut SpanTableBuilder, span: &Drawn, scope: u32) {
    let service = SERVICES[span.service];
    let instance = format!("{service}-{}", span.instance);
    let attributes = format!("{{\"service.name\":\"{service}\",\"service.instance.id\":\"{instance}\"}}");
    let resource = builder.resource(&ResourceFields {
        service_name: service,
        service_instance: Some(&instance),
        service_version: Some("1.4.2"),
        attributes: &attributes,
    });
    let is_client = span.kind == SpanKind::Client;
    let to = SERVICES[(span.service + 1) % SERVICES.len()];
    let mut name = format!("{} {}", if is_client { "POST" } else { "GET" }, ROUTES[span.route]);
    if span.is_unique {
        // Letters only: numbers and ids in names are folded.
        name.extend(span.id.0.iter().map(|byte| char::from(b'g' + byte % 20)));
    }
    let pairs = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", ROUTES[span.route]),
        ("app.user.id", "user-1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "shop/1.0 (load)"),
        ("thread.id", "12"),
        ("app.session", "a5f1c2"),
    ];
    let addresses = [("server.address", to), ("server.port", "8080")];
    for (key, value) in pairs.iter().chain(addresses.iter().filter(|_| is_client)) {
        builder.push_attribute(key, value, ValueType::String);
    }
    if let Some(said) = span.said {
        let id = format!("{:016x}-{said:08x}", mix(said));
        match span.joined {
            Joined::ByMessageIds => {
                builder.push_attribute("messaging.system", "jms", ValueType::String);
                builder.push_attribute("messaging.destination.name", "orders", ValueType::String);
                builder.push_attribute("messaging.message.id", &id, ValueType::String);
            }
            Joined::ByOrders => builder.push_attribute("shop.order", &id, ValueType::String),
            Joined::No | Joined::ByLinks | Joined::InTurn => {}
        }
    }
    let mut links = LinksWriter::default();
    if let Some((trace_id, span_id)) = span.link {
        links.push(&LinkFields { trace_id, span_id, trace_state: None }, "{}");
    }
    let name = builder.name(name.as_bytes()).expect("a String is UTF-8");
    builder.append_entry(&SpanEntry {
        trace_id: span.trace,
        span_id: span.id,
        parent_span_id: span.parent,
        start_ns: span.times_ns.0,
        end_ns: span.times_ns.1,
        name,
        kind: span.kind,
        status_code: StatusCode::Unset,
        status_message: None,
        trace_state: None,
        flags: 1,
        resource,
        scope,
        events: None,
        links: links.finish(),
        dropped: [0; 3],
    });
}

/// Mixes the bits of a number: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
