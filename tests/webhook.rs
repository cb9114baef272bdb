//! Webhooks as their receiver sees them: signed, told again until taken (also over a kill), opened before resolved; and
//! the API that adds and tests them. Must never verify a signature with the product's own code.

#![allow(clippy::unwrap_used)]

mod daemon;
mod schema;

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use daemon::traffic::{self, MINUTE_NS, now_ns};
use daemon::{Daemon, post, read_head};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use throughline::demo::shop::Shop;

const KEY: &[u8; 32] = b"thirty-two bytes that nobody has";
/// How long to wait for a delivery; only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn slow_shop_is_told_until_taken_and_its_end_afterwards() {
    let receiver = Receiver::start(vec![503]);
    let daemon = daemon_that_tells(&receiver);
    let now_ns = now_ns();
    let slow_ns = now_ns - 14 * MINUTE_NS;
    let quick_ns = now_ns - 9 * MINUTE_NS;
    traffic::send(&daemon, &traffic::slow_shop(slow_ns), slow_ns - 12 * MINUTE_NS, quick_ns);
    let refused = receiver.next(&daemon);
    let incident = refused.incident("incident.opened");
    assert_eq!(incident["status"], "open", "{incident:#}");
    assert_eq!(incident["root_cause"][0]["service"], "payment", "{incident:#}");

    let taken = receiver.next(&daemon);
    assert_eq!(taken.id(), refused.id(), "a retry has another id");
    assert_eq!(taken.body, refused.body, "a retry has another body");

    traffic::send(&daemon, &Shop::new(2, 6.0, None), quick_ns, now_ns);
    let end = receiver.next(&daemon);
    let resolved = end.incident("incident.resolved");
    assert_ne!(end.id(), taken.id(), "two events share an id");
    assert_eq!((&resolved["id"], &resolved["number"]), (&incident["id"], &incident["number"]));
    assert_eq!(resolved["status"], "resolved", "{resolved:#}");
    assert!(resolved["resolved_at"].as_str() > resolved["started_at"].as_str(), "{resolved:#}");
}

#[test]
fn killed_between_attempts_it_delivers_after_the_start() {
    let receiver = Receiver::start(vec![503]);
    let mut daemon = daemon_that_tells(&receiver);
    let now_ns = now_ns();
    let slow_ns = now_ns - 4 * MINUTE_NS;
    traffic::send(&daemon, &traffic::slow_shop(slow_ns), slow_ns - 11 * MINUTE_NS, now_ns);
    let refused = receiver.next(&daemon);
    daemon.kill();
    daemon.start_again();
    let taken = receiver.next(&daemon);
    assert_eq!(taken.id(), refused.id());
    assert_eq!(taken.body, refused.body);
    taken.incident("incident.opened");
}

#[test]
fn webhooks_are_added_and_tested_by_the_api() {
    let receiver = Receiver::start(Vec::new());
    let daemon = Daemon::start_with(vec![("THROUGHLINE_WEBHOOKS__EGRESS__ALLOW", r#"["127.0.0.0/8"]"#.to_owned())]);
    let add = |name: &str, url: &str| {
        let (status, answer) =
            post(daemon.web, "/api/v1/webhooks", &json!({ "name": name, "url": url, "secret": secret() }));
        (status, answer)
    };
    let (status, answer) = add("on-call", &receiver.url());
    assert_eq!(status, 201, "{answer}");
    assert!(!answer.contains(&secret()), "the answer tells the secret: {answer}");
    let (status, answer) = add("on-call", &receiver.url());
    assert_eq!(status, 409, "{answer}");
    for (url, reason) in [("http://169.254.169.254/", "never called"), ("http://10.1.2.3/", "webhooks.egress.allow")] {
        let (status, answer) = add("elsewhere", url);
        assert_eq!(status, 422, "{url}: {answer}");
        assert!(answer.contains(reason), "{url}: {answer}");
    }

    let test =
        |name: &str, key: &str| post(daemon.web, &format!("/api/v1/webhooks/{name}/test"), &json!({ "key": key }));
    let event_id = |key: &str| {
        let (status, answer) = test("on-call", key);
        assert_eq!(status, 200, "{answer}");
        let outcome: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(outcome["is_delivered"], true, "{answer}");
        outcome["event_id"].as_str().unwrap().to_owned()
    };
    let first = event_id("fire drill");
    assert_eq!(receiver.next(&daemon).id(), first);
    assert_eq!(event_id("fire drill"), first, "the same key is the same event");
    let other = event_id("another drill");
    assert_ne!(other, first);
    // The repeated test may be sent again or not, but never as another event.
    let mut next = receiver.next(&daemon);
    if next.id() == first {
        next = receiver.next(&daemon);
    }
    assert_eq!(next.id(), other);
    assert_eq!(test("nobody", "fire drill").0, 404);
}

fn daemon_that_tells(receiver: &Receiver) -> Daemon {
    let events = ["incident.opened", "incident.resolved"];
    let target = json!([{ "name": "on-call", "url": receiver.url(), "secret": secret(), "events": events }]);
    Daemon::start_with(vec![
        ("THROUGHLINE_WEBHOOKS__TARGETS", target.to_string()),
        ("THROUGHLINE_WEBHOOKS__EGRESS__ALLOW", r#"["127.0.0.0/8"]"#.to_owned()),
    ])
}

fn secret() -> String {
    format!("whsec_{}", BASE64.encode(KEY))
}

/// A webhook receiver on loopback; its thread ends with the test's process.
struct Receiver {
    address: SocketAddr,
    received: mpsc::Receiver<Delivery>,
}

/// One attempt, as received.
struct Delivery {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Receiver {
    /// Answers the first requests with these statuses, and all others with 200.
    fn start(first_answers: Vec<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = mpsc::channel();
        std::thread::spawn(move || {
            let mut answers = first_answers.into_iter();
            for connection in listener.incoming() {
                let delivery = receive(&connection.unwrap(), answers.next().unwrap_or(200));
                if sender.send(delivery).is_err() {
                    return;
                }
            }
        });
        Self { address, received }
    }

    fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    /// Waits for the next attempt and checks that it is signed.
    fn next(&self, daemon: &Daemon) -> Delivery {
        let delivery = self.received.recv_timeout(PATIENCE);
        let delivery = delivery.unwrap_or_else(|_| panic!("nothing was delivered: {}", daemon.log()));
        delivery.expect_signed();
        delivery
    }
}

fn receive(mut connection: &TcpStream, status: u16) -> Delivery {
    let mut source = BufReader::new(connection);
    let (_, headers) = read_head(&mut source).unwrap();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    source.read_exact(&mut body).unwrap();
    write!(connection, "HTTP/1.1 {status} As Said\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    Delivery { headers, body }
}

impl Delivery {
    fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    /// As a receiver does: HMAC-SHA256 over `{id}.{timestamp}.{body}` (Standard Webhooks, "Signature scheme").
    fn expect_signed(&self) {
        let timestamp: u64 = self.headers["webhook-timestamp"].parse().unwrap();
        assert!(timestamp.abs_diff(now_ns() / traffic::SECOND_NS) < 300, "{timestamp} is not fresh");
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY).unwrap();
        mac.update(format!("{}.{timestamp}.", self.id()).as_bytes());
        mac.update(&self.body);
        let signature = self.headers["webhook-signature"].strip_prefix("v1,").unwrap();
        mac.verify_slice(&BASE64.decode(signature).unwrap()).unwrap();
    }

    /// Returns the incident that the event is about.
    fn incident(&self, event_type: &str) -> Value {
        let mut event: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(event["type"], event_type, "{event:#}");
        let incident = event["data"].take();
        schema::expect_incident(&incident);
        incident
    }
}
