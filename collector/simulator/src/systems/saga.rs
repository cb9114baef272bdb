//! Payments as sagas: one conductor that calls steps and undoes them, and events that others act upon.

use crate::system::{
    Broker, Builder, Context, Step, System, Value, call, fail, inner, query, saga as saga_of, send, work,
};

/// Returns the payment system, with five payments a second of which about four per cent are undone.
pub fn saga() -> System {
    let mut pay = Builder::new("payment saga");
    let ledger_db = pay.database("ledger-db", "mysql", 24);
    let entry = pay.statement(ledger_db, "INSERT entries", 4.0);
    let reverse = pay.statement(ledger_db, "UPDATE entries", 4.0);
    let ledger = pay.service("ledger").instances(2).workers(20).id();
    let book = pay.http(ledger, "POST /entries", vec![work(3.0), query(entry)]);
    let unbook = pay.http(ledger, "POST /entries/{id}/reverse", vec![work(3.0), query(reverse)]);
    let wallet_db = pay.database("wallet-store", "mongodb", 24);
    let (hold, free) = (pay.statement(wallet_db, "update holds", 3.0), pay.statement(wallet_db, "delete holds", 3.0));
    let wallet = pay.service("wallet").instances(3).workers(20).old_names().id();
    let reserve = pay.http(wallet, "POST /holds", vec![work(4.0), query(hold)]);
    let release = pay.http(wallet, "DELETE /holds/{id}", vec![work(3.0), query(free)]);
    let rules = pay.service("risk").instances(2).workers(20).id();
    let score = pay.rpc(
        rules,
        "risk.Scoring/Score",
        vec![inner("features", vec![work(6.0)]), inner("model", vec![work(12.0)]), fail(0.01)],
    );
    let scheme = pay.peer("gateway.scheme.example", 60);
    let authorise = pay.http(scheme, "POST /authorisations", vec![work(70.0), fail(0.03)]);
    let void = pay.http(scheme, "POST /voids", vec![work(50.0)]);
    let settled = pay.queue("payments.settled", Broker::Rabbit, 4);
    let undone = pay.queue("payments.undone", Broker::Rabbit, 2);
    let conductor = pay.service("payments").instances(3).workers(32).id();
    let step = |target, timeout_ms: f64| -> Step { call(target).timeout(timeout_ms).tries(2, 40.0).into() };
    let steps = saga_of(vec![
        (vec![step(score, 1_000.0)], Vec::new()),
        (vec![step(reserve, 1_000.0)], vec![step(release, 1_000.0)]),
        (vec![step(book, 1_000.0)], vec![step(unbook, 1_000.0)]),
        (vec![call(authorise).timeout(3_000.0).into()], vec![step(void, 3_000.0), send(undone)]),
        (vec![work(2.0), fail(0.01), send(settled)], Vec::new()),
    ]);
    let start = pay.http(conductor, "POST /payments", vec![work(3.0), steps, work(1.0)]);
    pay.says(start, "payment.id", Value::Uuid(2));
    pay.says(start, "merchant.id", Value::Tenant);
    let notices = pay.service("notices").instances(2).workers(8).id();
    let told = pay.consumer(settled, notices, Context::MessageId, vec![work(9.0)]);
    pay.says(told, "payment.id", Value::Uuid(2));
    let reports = pay.service("bookkeeping").instances(2).workers(8).old_names().id();
    let noted = pay.consumer(settled, reports, Context::Link, vec![work(6.0), query(entry)]);
    pay.says(noted, "payment_id", Value::Uuid(2));
    pay.consumer(undone, notices, Context::Parent, vec![work(7.0)]);
    pay.traffic(start, 5.0);
    pay.build()
}
