//! Claims that go from desk to desk: nothing is passed on but what is written on them, some of it in logs only, in an order
//! that differs from claim to claim. Customers come back, and what they ask for then is not the same claim.

use crate::system::{Builder, System, Value, call, either, inner, query, send, work};

/// Returns the desks, with a claim a second and a question now and then.
pub fn paperwork() -> System {
    let mut desks = Builder::new("paperwork");
    let files = desks.database("claims-db", "postgresql", 24);
    let (select, update) = (desks.statement(files, "SELECT claims", 3.0), desks.statement(files, "UPDATE claims", 4.0));
    let letters = desks.service("letters").instances(2).workers(16).id();
    let letter = vec![work(12.0), query(select)];
    let (to_letters, written) = desks.handover(letters, "POST /letters", (300.0, 2_500.0), letter);
    desks.logs(written, "claim_no", Value::Word(1));
    let payouts = desks.service("payouts").instances(2).workers(16).old_names().id();
    let pay = vec![work(9.0), query(update), send(to_letters)];
    let (to_payouts, paid) = desks.handover(payouts, "POST /payouts", (200.0, 1_800.0), pay);
    desks.says(paid, "claimNo", Value::Word(1));
    desks.says(paid, "payout.id", Value::Uuid(2));
    let ledger = desks.service("claims").instances(2).workers(24).id();
    let store = desks.rpc(ledger, "claims.Claims/Store", vec![work(3.0), query(select), query(update)]);
    let decide = vec![work(6.0), query(update), send(to_payouts)];
    let (to_desk, decided) = desks.handover(ledger, "POST /decisions", (300.0, 2_000.0), decide);
    let checks = desks.service("checks").instances(2).workers(16).id();
    // Scans and frauds are looked at one after the other, now this first and now that.
    let look = |next| vec![inner("read scans", vec![work(22.0)]), query(select), send(next)];
    let judge = |next| vec![work(14.0), send(next)];
    let delay_ms = (100.0, 1_500.0);
    let (to_last_scans, last_scans) = desks.handover(checks, "POST /scans", delay_ms, look(to_desk));
    let (to_last_frauds, last_frauds) = desks.handover(checks, "POST /fraud-checks", delay_ms, judge(to_desk));
    let (to_scans, scans) = desks.handover(checks, "POST /scans", delay_ms, look(to_last_frauds));
    let (to_frauds, frauds) = desks.handover(checks, "POST /fraud-checks", delay_ms, judge(to_last_scans));
    for operation in [last_scans, last_frauds, scans, frauds, decided] {
        desks.says(operation, "claim.no", Value::Word(1));
    }
    let portal = desks.service("portal").instances(2).workers(32).id();
    let body =
        vec![work(2.0), call(store).timeout(2_000.0).into(), either(0.5, vec![send(to_scans)], vec![send(to_frauds)])];
    let claim = desks.http(portal, "POST /claims", body);
    desks.says(claim, "claim.no", Value::Word(1));
    let ask = desks.http(portal, "GET /claims", vec![work(1.5), query(select)]);
    for operation in [claim, ask, decided, paid] {
        desks.says(operation, "customer.no", Value::Customer(1_500));
        desks.says(operation, "page.size", Value::Random(5_000));
    }
    desks.traffic(claim, 1.0);
    desks.traffic(ask, 1.5);
    desks.build()
}
