//! A travel search that asks many suppliers at once and takes what has come, shards of an index, and bookings.

use crate::system::{Builder, Call, Protocol, System, Value, call, inner, query, scatter, sleep, work};

/// Shards of the index: instances of one service that hold different parts.
const SHARDS: usize = 6;

/// Returns the travel search, with four searches a second.
pub fn travel() -> System {
    let mut travel = Builder::new("travel search");
    let index = travel.service("fares-index").instances(SHARDS).workers(16).id();
    let look = travel.rpc(index, "fares.Index/Search", vec![work(12.0)]);
    let suppliers: Vec<Call> = ["air-one", "blue-jet", "coastline", "direct-sky", "euro-hop"]
        .into_iter()
        .enumerate()
        .map(|(number, name)| {
            let peer = travel.peer(&format!("{name}.example"), 40);
            let offers = travel.http(peer, "GET /offers", vec![work(60.0 + 15.0 * number as f64)]);
            let adapter = travel.service(&format!("adapter-{name}")).instances(2).workers(16).id();
            let ask = vec![work(3.0), call(offers).timeout(700.0).into(), inner("convert", vec![work(4.0)])];
            let ask = travel.http(adapter, &format!("GET /{name}/offers"), ask);
            call(ask).timeout(900.0).or(Vec::new())
        })
        .collect();
    let ranking = travel.service("ranking").instances(2).workers(16).old_names().id();
    let rank = travel.rpc(ranking, "rank.Ranker/Rank", vec![work(14.0)]);
    let gateway = travel.service("search-api").instances(3).workers(64).id();
    let shards = (0..SHARDS).map(|shard| call(look).shard(shard).timeout(1_500.0)).collect();
    let all = suppliers.len();
    let search = travel.http(
        gateway,
        "GET /search",
        vec![
            work(3.0),
            inner("fan out to the index", vec![scatter(shards, SHARDS)]),
            inner("ask suppliers", vec![scatter(suppliers, all - 1)]),
            call(rank).timeout(2_000.0).into(),
            work(2.0),
        ],
    );
    let store = travel.database("bookings-db", "postgresql", 20);
    let (select, insert) =
        (travel.statement(store, "SELECT bookings", 3.0), travel.statement(store, "INSERT bookings", 5.0));
    let bookings = travel.service("bookings").instances(2).workers(24).id();
    let read = travel.rpc(bookings, "book.Bookings/Read", vec![work(2.0), query(select)]);
    let write = travel.rpc(bookings, "book.Bookings/Write", vec![work(4.0), query(select), query(insert)]);
    let show = travel.http(gateway, "GET /bookings/{ref}", vec![work(1.0), call(read).timeout(1_000.0).into()]);
    let book =
        travel.http(gateway, "POST /bookings", vec![work(2.0), call(write).timeout(2_000.0).tries(2, 30.0).into()]);
    let watch =
        travel.operation(gateway, Protocol::Http, "GET /prices/watch", vec![sleep(2_000.0, 25_000.0), work(1.0)]);
    for operation in [search, show, book] {
        travel.says(operation, "market", Value::Tenant);
    }
    travel.says(book, "booking.ref", Value::Word(3));
    travel.traffic(search, 4.0);
    travel.traffic(show, 3.0);
    travel.traffic(book, 0.8);
    travel.traffic(watch, 0.4);
    travel.build()
}
