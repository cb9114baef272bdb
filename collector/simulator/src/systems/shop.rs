//! A web shop: pages that read from a cache and a catalogue, a checkout that calls many, orders that go on over a topic.

use crate::system::{
    Broker, Builder, Context, OperationId, ServiceId, System, Value, aside, call, either, inner, log, maybe, query,
    repeat, scatter, send, work,
};

/// Returns the shop, with about ten pieces of work a second.
pub fn shop() -> System {
    let mut shop = Builder::new("shop");
    let frontend = shop.service("frontend").instances(3).workers(64).id();
    let (list, show) = catalogue(&mut shop);
    let (read_cart, fill_cart) = carts(&mut shop);
    let checkout = checkout(&mut shop, read_cart);
    let gold = shop.service("recommendations").instances(2).workers(16).old_names().id();
    let advise = shop.rpc(gold, "recommend.Recommender/List", vec![work(9.0), call(list).timeout(800.0).into()]);
    let home = shop.http(
        frontend,
        "GET /",
        vec![
            work(2.0),
            call(list).timeout(2_000.0).into(),
            call(advise).timeout(400.0).breaker().or(vec![work(0.5)]).into(),
        ],
    );
    let page = shop.http(
        frontend,
        "GET /products/{id}",
        vec![
            work(1.5),
            scatter(vec![call(show).timeout(2_000.0), call(advise).timeout(400.0).breaker().or(Vec::new())], 2),
        ],
    );
    let add = shop.http(frontend, "POST /cart", vec![work(1.0), call(show).into(), call(fill_cart).into()]);
    let buy = shop.http(frontend, "POST /checkout", vec![work(2.0), call(checkout).timeout(8_000.0).into()]);
    for operation in [home, page, add, buy] {
        shop.says(operation, "tenant.id", Value::Tenant);
        shop.says(operation, "enduser.id", Value::Customer(4_000));
    }
    shop.traffic(home, 2.5);
    shop.traffic(page, 4.0);
    shop.traffic(add, 2.0);
    shop.traffic(buy, 1.5);
    shop.build()
}

fn catalogue(shop: &mut Builder) -> (OperationId, OperationId) {
    let cache = shop.database("catalog-cache", "redis", 64);
    let disk = shop.database("catalog-db", "postgresql", 24);
    let get = shop.statement(cache, "GET product", 0.4);
    let select = shop.statement(disk, "SELECT products", 4.0);
    let catalog = shop.service("catalog").instances(3).workers(32).begins_at_arrival().id();
    let list = shop.rpc(
        catalog,
        "shop.Catalog/List",
        vec![work(2.0), query(get), maybe(0.3, vec![query(select), inner("render", vec![work(3.0)])])],
    );
    let show = shop.rpc(
        catalog,
        "shop.Catalog/Get",
        vec![work(1.0), query(get), maybe(0.2, vec![query(select)]), repeat(1, 3, vec![query(get)])],
    );
    (list, show)
}

fn carts(shop: &mut Builder) -> (OperationId, OperationId) {
    let store = shop.database("cart-store", "redis", 64);
    let (read, write) = (shop.statement(store, "HGETALL cart", 0.6), shop.statement(store, "HSET cart", 0.8));
    let cart = shop.service("cart").instances(2).workers(32).id();
    let read_cart = shop.rpc(cart, "shop.Cart/Read", vec![work(1.0), query(read)]);
    let fill_cart = shop.rpc(cart, "shop.Cart/Add", vec![work(1.2), query(read), query(write)]);
    (read_cart, fill_cart)
}

fn checkout(shop: &mut Builder, read_cart: OperationId) -> OperationId {
    let quotes = shop.peer("rates.parcel.example", 50);
    let rates = shop.http(quotes, "GET /rates", vec![work(35.0)]);
    let shipping = shop.service("shipping").instances(2).workers(24).id();
    let quote = shop.http(shipping, "POST /quote", vec![work(2.0), call(rates).timeout(1_500.0).tries(2, 50.0).into()]);
    let bank = shop.peer("api.bank.example", 50);
    let charge = shop.http(bank, "POST /charges", vec![work(80.0)]);
    let payment = shop.service("payment").instances(2).workers(24).id();
    let pay = shop.http(payment, "POST /pay", vec![work(4.0), call(charge).timeout(4_000.0).into(), work(1.0)]);
    let database = shop.database("orders-db", "postgresql", 20);
    let insert = shop.statement(database, "INSERT orders", 5.0);
    let placed = shop.queue("orders.placed", Broker::Kafka, 4);
    let service = shop.service("checkout").instances(3).workers(24).id();
    let checkout = shop.rpc(
        service,
        "shop.Checkout/Place",
        vec![
            work(3.0),
            call(read_cart).timeout(1_000.0).tries(3, 20.0).into(),
            call(quote).timeout(3_000.0).into(),
            call(pay).timeout(5_000.0).into(),
            query(insert),
            send(placed),
            log("order placed"),
        ],
    );
    shop.says(checkout, "order.id", Value::Uuid(1));
    after_order(shop, placed, database);
    checkout
}

fn after_order(shop: &mut Builder, placed: usize, database: ServiceId) {
    let mailer = shop.peer("smtp.mail.example", 30);
    let deliver = shop.http(mailer, "POST /messages", vec![work(60.0)]);
    let email = shop.service("email").instances(2).workers(8).old_names().id();
    let mail = vec![work(5.0), either(0.9, vec![call(deliver).tries(2, 200.0).into()], vec![work(2.0)])];
    let mailed = shop.consumer(placed, email, Context::Link, mail);
    shop.says(mailed, "order.id", Value::Uuid(1));
    let update = shop.statement(database, "UPDATE stock", 3.0);
    let stock = shop.service("warehouse").instances(2).workers(8).id();
    let pick = vec![work(8.0), query(update), aside(vec![work(15.0)])];
    shop.consumer(placed, stock, Context::Parent, pick);
    shop.at_least_once(0.002);
}
