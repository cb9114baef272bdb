//! Claims that go from desk to desk: nothing is passed on but what is written on them, some of it in logs only, in an order
//! that differs from claim to claim. Customers come back, and what they ask for then is not the same claim.

use crate::system::{Builder, System, Value, call, inner, query, send, work};

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
    let checks = desks.service("checks").instances(2).workers(16).id();
    let look = vec![inner("read scans", vec![work(22.0)]), query(select)];
    let (to_scans, scanned) = desks.handover(checks, "POST /scans", (100.0, 1_500.0), look);
    let (to_fraud, judged) = desks.handover(checks, "POST /fraud-checks", (100.0, 1_500.0), vec![work(14.0)]);
    for operation in [scanned, judged] {
        desks.says(operation, "claim.no", Value::Word(1));
    }
    let ledger = desks.service("claims").instances(2).workers(24).id();
    let store = desks.rpc(ledger, "claims.Claims/Store", vec![work(3.0), query(select), query(update)]);
    let (to_desk, decided) =
        desks.handover(ledger, "POST /decisions", (1_800.0, 3_000.0), vec![work(6.0), query(update), send(to_payouts)]);
    desks.says(decided, "claim.no", Value::Word(1));
    let portal = desks.service("portal").instances(2).workers(32).id();
    let body = vec![work(2.0), call(store).timeout(2_000.0).into(), send(to_scans), send(to_fraud), send(to_desk)];
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
