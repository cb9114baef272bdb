//! A back office with little to do: at most twenty requests a minute of each kind, long statements, reports by a timer, and
//! workers that wait for jobs on purpose.

use crate::system::{Builder, Protocol, System, Value, call, inner, query, repeat, sleep, work};

/// Returns the back office, with about half a request a second in all.
pub fn office() -> System {
    let mut office = Builder::new("back office");
    let database = office.database("erp-db", "oracle", 12);
    let find = office.statement(database, "SELECT invoices", 18.0);
    let change = office.statement(database, "UPDATE invoices", 12.0);
    let jobs = office.database("jobs", "redis", 20);
    let pop = office.operation(jobs, Protocol::Query, "BLPOP jobs", vec![sleep(200.0, 9_000.0)]);
    let taxes = office.service("tax-rates").instances(2).workers(8).pauses(Some((120.0, 40.0))).old_names().id();
    let rate = office.http(taxes, "GET /rates/{country}", vec![work(9.0)]);
    let documents = office.service("documents").instances(2).workers(6).id();
    let print = office.http(documents, "POST /documents", vec![inner("layout", vec![work(90.0)]), work(20.0)]);
    let invoices = office.service("invoices").instances(2).workers(12).old_names().id();
    let read = office.http(invoices, "GET /invoices/{id}", vec![work(6.0), query(find)]);
    let write = office.http(
        invoices,
        "PUT /invoices/{id}",
        vec![work(8.0), query(find), call(rate).timeout(2_000.0).tries(3, 100.0).into(), query(change)],
    );
    let issue = vec![work(5.0), query(find), call(rate).timeout(2_000.0).into(), call(print).timeout(9_000.0).into()];
    let issue = office.http(invoices, "POST /invoices/{id}/issue", issue);
    let report = vec![repeat(15, 25, vec![query(find), inner("sum up", vec![work(6.0)])])];
    let report = office.operation(invoices, Protocol::Timer, "monthly report", report);
    let worker = office.service("worker").instances(1).workers(4).id();
    let poll = office.operation(worker, Protocol::Timer, "wait for a job", vec![call(pop).timeout(15_000.0).into()]);
    for operation in [read, write, issue] {
        office.says(operation, "client.id", Value::Tenant);
        office.says(operation, "invoice.no", Value::Number(5));
    }
    office.traffic(read, 0.33);
    office.traffic(write, 0.15);
    office.traffic(issue, 0.1);
    office.timer(report, 600.0);
    office.timer(poll, 10.0);
    office.build()
}
