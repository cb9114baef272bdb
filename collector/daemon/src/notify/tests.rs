//! The notifier against receivers on loopback that behave as scripted: from an incident's change to what arrives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use analyzer::incident::{IncidentEvent, IncidentStatus};
use insta::assert_snapshot;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::{
    AddTargetError, EgressGuard, GuardError, Notifier, NotifyConfig, RetryPolicy, Secret, Target, TestError, Timeouts,
};
use crate::state::tests::{happening, incident};
use crate::state::{DeliveryFilter, DeliveryRow, DeliveryState, Recorded, State};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
/// 2026-11-20T12:07:40Z.
const NOW_MS: i64 = 1_795_176_460_000;
/// Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a receiver does with a request.
#[derive(Clone, Copy)]
enum Reply {
    /// Writes this and closes.
    Text(&'static str),
    /// Writes this, then bytes until the sender has had enough.
    Endless(&'static str),
    /// Writes this and then nothing, but stays.
    Hang(&'static str),
    /// Closes at once.
    Close,
}

const OK: Reply = Reply::Text("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
const BROKEN: Reply = Reply::Text("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops");

/// A receiver that answers its requests one after another; the last reply repeats.
struct Receiver {
    address: SocketAddr,
    requests: mpsc::UnboundedReceiver<Request>,
}

/// What arrived.
struct Request {
    head: String,
    body: String,
}

impl Receiver {
    async fn start(replies: &[Reply]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        let replies = replies.to_vec();
        tokio::spawn(async move {
            for index in 0.. {
                let (connection, _) = listener.accept().await.unwrap();
                let reply = replies[index.min(replies.len() - 1)];
                tokio::spawn(serve(connection, reply, sender.clone()));
            }
        });
        Self { address, requests }
    }

    fn target(&self, name: &str) -> Target {
        let secret = Some(Secret::parse(SECRET).unwrap());
        Target::new(name, &format!("http://{}/hook", self.address), secret, Vec::new()).unwrap()
    }

    async fn next(&mut self) -> Request {
        tokio::time::timeout(PATIENCE, self.requests.recv()).await.expect("a request arrives").unwrap()
    }
}

impl Request {
    fn header(&self, name: &str) -> String {
        let prefix = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or("(none)").to_owned()
    }

    fn event_type(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body["type"].as_str().unwrap().to_owned()
    }
}

async fn serve(mut connection: TcpStream, reply: Reply, requests: mpsc::UnboundedSender<Request>) {
    let request = read_request(&mut connection).await;
    let _ = requests.send(request);
    match reply {
        Reply::Close => {}
        Reply::Text(text) => connection.write_all(text.as_bytes()).await.unwrap(),
        Reply::Hang(text) => {
            connection.write_all(text.as_bytes()).await.unwrap();
            // Ends when the sender gives up.
            let _ = connection.read(&mut [0]).await;
        }
        Reply::Endless(text) => {
            connection.write_all(text.as_bytes()).await.unwrap();
            while connection.write_all(&[b'x'; 8192]).await.is_ok() {}
        }
    }
}

async fn read_request(connection: &mut TcpStream) -> Request {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let count = connection.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.parse().unwrap() {
            return Request { head: head.to_owned(), body: body.to_owned() };
        }
    }
}

/// A daemon's notifying part, which can be killed and started again.
struct Rig {
    folder: Arc<TempDir>,
    now_ms: Arc<AtomicI64>,
    retry_delay: Duration,
    timeouts: Timeouts,
}

struct Running {
    notifier: Notifier,
    _shutdown: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    _folder: Arc<TempDir>,
}

impl Rig {
    /// Retries come at once.
    fn new() -> Self {
        Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            now_ms: Arc::new(AtomicI64::new(NOW_MS)),
            retry_delay: Duration::ZERO,
            timeouts: Timeouts::default(),
        }
    }

    async fn start(&self, targets: Vec<Target>) -> Running {
        let state = State::open(self.folder.path()).unwrap();
        let now_ms = self.now_ms.clone();
        let config = NotifyConfig {
            retry: RetryPolicy { delays: vec![self.retry_delay], give_up_after: Duration::from_secs(24 * 3600) },
            timeouts: self.timeouts,
            clock: Arc::new(move || now_ms.load(Ordering::SeqCst)),
            ..NotifyConfig::new(targets, vec!["127.0.0.1".parse().unwrap()])
        };
        let (shutdown, is_down) = watch::channel(false);
        let (notifier, task) = Notifier::start(state, config, is_down).await.unwrap();
        Running { notifier, _shutdown: shutdown, task, _folder: self.folder.clone() }
    }
}

impl Running {
    async fn open(&self, id: &str) {
        let change = happening(incident(id, 142, IncidentStatus::Open), IncidentEvent::Opened, NOW_MS / 1000);
        assert!(matches!(self.notifier.tell(&change).await.unwrap(), Recorded::Told { .. }));
    }

    async fn resolve(&self, id: &str) {
        let change =
            happening(incident(id, 142, IncidentStatus::Resolved), IncidentEvent::Resolved, NOW_MS / 1000 + 60);
        assert!(matches!(self.notifier.tell(&change).await.unwrap(), Recorded::Told { .. }));
    }

    async fn deliveries(&self) -> Vec<DeliveryRow> {
        self.notifier.list_deliveries(DeliveryFilter { limit: 100, ..DeliveryFilter::default() }).await.unwrap()
    }

    /// Waits until the oldest delivery is as wanted.
    async fn until(&self, is_so: impl Fn(&DeliveryRow) -> bool) -> DeliveryRow {
        let mut attempted = self.notifier.signals.attempted.subscribe();
        let wait = async {
            loop {
                let row = self.deliveries().await.pop().expect("something is queued");
                if is_so(&row) {
                    return row;
                }
                attempted.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the delivery gets there")
    }

    /// Stops without a word, as `kill -9` does, and waits until the file is free.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Returns what becomes of an event whose receiver replies so.
async fn outcome(replies: &[Reply]) -> String {
    let receiver = Receiver::start(replies).await;
    let running = Rig::new().start(vec![receiver.target("a")]).await;
    running.open("i").await;
    let row = running.until(|row| row.state != DeliveryState::Pending).await;
    let status = row.status.map_or("no status".to_owned(), |status| status.to_string());
    let error = row.error.unwrap_or_default().replace(&receiver.address.to_string(), "RECEIVER");
    format!("{:?} after {} attempts: {status} {error}", row.state, row.attempts)
}

#[tokio::test]
async fn an_incident_arrives_signed_in_the_standard_envelope() {
    let mut receiver = Receiver::start(&[OK]).await;
    let running = Rig::new().start(vec![receiver.target("a")]).await;
    running.open("i").await;
    let request = receiver.next().await;
    let id = request.header("webhook-id");
    let signature = Secret::parse(SECRET).unwrap().signature(&id, NOW_MS / 1000, &request.body);
    assert_eq!(request.header("webhook-signature"), signature);
    assert!(id.starts_with("msg_") && request.head.starts_with("POST /hook HTTP/1.1\r\n"));
    assert_eq!(request.header("webhook-timestamp"), (NOW_MS / 1000).to_string());
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("user-agent"), concat!("throughline/", env!("CARGO_PKG_VERSION")));
    let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(body["type"], "incident.opened");
    assert_eq!(body["timestamp"], "2026-11-20T12:07:40Z");
    assert_eq!(body["data"]["number"], 142);
}

#[tokio::test]
async fn a_target_without_a_secret_gets_no_signature() {
    let mut receiver = Receiver::start(&[OK]).await;
    let target = Target { secret: None, ..receiver.target("a") };
    let running = Rig::new().start(vec![target]).await;
    running.open("i").await;
    let request = receiver.next().await;
    assert_eq!(request.header("webhook-signature"), "(none)");
    assert_ne!(request.header("webhook-id"), "(none)");
}

#[tokio::test]
async fn only_2xx_is_success() {
    let reply = |text| [Reply::Text(text)];
    assert_snapshot!(outcome(&reply("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n")).await, @"Delivered after 1 attempts: 201");
    assert_snapshot!(outcome(&reply("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")).await, @"Dead after 3 attempts: 400 the receiver answered 400 Bad Request");
    assert_snapshot!(outcome(&reply("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n")).await, @"Dead after 1 attempts: 410 the receiver answered 410 Gone");
    assert_snapshot!(outcome(&[BROKEN, OK]).await, @"Delivered after 2 attempts: 200");
    assert_snapshot!(outcome(&[Reply::Close, Reply::Text("no http\r\n\r\n"), OK]).await, @"Delivered after 3 attempts: 200");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut inside = Receiver::start(&[OK]).await;
    let redirect =
        format!("HTTP/1.1 307 Temporary\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n", inside.address);
    assert_snapshot!(outcome(&[Reply::Text(Box::leak(redirect.into_boxed_str()))]).await, @"Dead after 3 attempts: 307 the receiver answered 307 Temporary Redirect");
    assert!(inside.requests.try_recv().is_err(), "the redirect was followed");
}

#[tokio::test]
async fn a_receiver_that_hangs_is_left_and_tried_again() {
    for hang in [Reply::Hang(""), Reply::Hang("HTTP/1.1 200 OK\r\ncontent-le")] {
        let mut receiver = Receiver::start(&[hang, OK]).await;
        let mut rig = Rig::new();
        rig.timeouts.total = Duration::from_millis(200);
        let running = rig.start(vec![receiver.target("a")]).await;
        running.open("i").await;
        receiver.next().await;
        receiver.next().await;
        let row = running.until(|row| row.state == DeliveryState::Delivered).await;
        assert!(row.attempts > 1 && row.error.is_none());
    }
}

#[tokio::test]
async fn what_went_wrong_is_told() {
    let mut told = Vec::new();
    for reply in [BROKEN, Reply::Close, Reply::Hang("")] {
        let receiver = Receiver::start(&[reply]).await;
        let mut rig = Rig::new();
        rig.retry_delay = Duration::from_secs(3600);
        rig.timeouts.total = Duration::from_secs(1);
        let running = rig.start(vec![receiver.target("a")]).await;
        running.open("i").await;
        told.push(running.until(|row| row.attempts == 1).await.error.unwrap());
    }
    assert_snapshot!(told.join("\n"), @r"
    the receiver answered 500 Internal Server Error
    error sending request: client error (SendRequest): connection closed before message completed
    no answer within 1 s
    ");
}

#[tokio::test]
async fn an_endless_answer_is_read_up_to_a_bound() {
    assert_snapshot!(outcome(&[Reply::Endless("HTTP/1.1 200 OK\r\n\r\n")]).await, @"Delivered after 1 attempts: 200");
    assert_snapshot!(outcome(&[Reply::Endless("HTTP/1.1 500 Oh\r\n\r\n"), OK]).await, @"Delivered after 2 attempts: 200");
}

#[tokio::test]
async fn retry_after_is_heard() {
    let busy = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n";
    let until = "HTTP/1.1 503 Busy\r\nretry-after: Fri, 20 Nov 2026 12:10:40 GMT\r\ncontent-length: 0\r\n\r\n";
    for (reply, wait_ms) in [(busy, 120_000), (until, 180_000)] {
        let receiver = Receiver::start(&[Reply::Text(reply)]).await;
        let running = Rig::new().start(vec![receiver.target("a")]).await;
        running.open("i").await;
        let row = running.until(|row| row.attempts == 1).await;
        assert_eq!((row.state, row.next_attempt_ms), (DeliveryState::Pending, Some(NOW_MS + wait_ms)));
    }
}

#[tokio::test]
async fn a_kill_between_attempts_leads_to_the_same_event_again() {
    let mut receiver = Receiver::start(&[BROKEN, OK]).await;
    let mut rig = Rig::new();
    rig.retry_delay = Duration::from_secs(3600);
    let running = rig.start(vec![receiver.target("a")]).await;
    running.open("i").await;
    running.until(|row| row.attempts == 1).await;
    let first = receiver.next().await;
    running.kill().await;
    rig.now_ms.fetch_add(2 * 3600 * 1000, Ordering::SeqCst);
    let running = rig.start(vec![receiver.target("a")]).await;
    let second = receiver.next().await;
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.body, second.body);
    assert_ne!(first.header("webhook-timestamp"), second.header("webhook-timestamp"));
    assert_eq!(running.until(|row| row.state == DeliveryState::Delivered).await.attempts, 2);
}

#[tokio::test]
async fn a_kill_during_an_attempt_leads_to_the_same_event_again() {
    let mut receiver = Receiver::start(&[Reply::Hang(""), OK]).await;
    let rig = Rig::new();
    let running = rig.start(vec![receiver.target("a")]).await;
    running.open("i").await;
    let first = receiver.next().await;
    running.kill().await;
    let running = rig.start(vec![receiver.target("a")]).await;
    assert_eq!(first.header("webhook-id"), receiver.next().await.header("webhook-id"));
    assert_eq!(running.until(|row| row.state == DeliveryState::Delivered).await.attempts, 1);
}

#[tokio::test]
async fn opened_arrives_before_resolved_even_if_it_needs_more_attempts() {
    let mut receiver = Receiver::start(&[BROKEN, BROKEN, OK]).await;
    let running = Rig::new().start(vec![receiver.target("a")]).await;
    running.open("i").await;
    running.resolve("i").await;
    let mut arrived = Vec::new();
    for _ in 0..4 {
        arrived.push(receiver.next().await.event_type());
    }
    assert_eq!(arrived, ["incident.opened", "incident.opened", "incident.opened", "incident.resolved"]);
}

#[tokio::test]
async fn a_target_that_hangs_does_not_delay_another() {
    let mut hangs = Receiver::start(&[Reply::Hang("")]).await;
    let mut works = Receiver::start(&[OK]).await;
    let mut rig = Rig::new();
    rig.timeouts = Timeouts { connect: PATIENCE, total: PATIENCE * 10 };
    let running = rig.start(vec![hangs.target("hangs"), works.target("works")]).await;
    for id in ["i", "j", "k"] {
        running.open(id).await;
        assert_eq!(works.next().await.event_type(), "incident.opened");
    }
    hangs.next().await;
    assert!(hangs.requests.try_recv().is_err(), "the first attempt is still under way");
}

#[tokio::test]
async fn gone_disables_a_target_until_a_test_arrives() {
    let receiver = Receiver::start(&[Reply::Text("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"), OK]).await;
    let running = Rig::new().start(vec![receiver.target("a")]).await;
    running.open("i").await;
    running.until(|row| row.state == DeliveryState::Dead).await;
    assert!(running.notifier.list_targets().await.unwrap()[0].disabled.as_deref().unwrap().contains("410"));
    let change = happening(incident("j", 1, IncidentStatus::Open), IncidentEvent::Opened, 1);
    assert_eq!(running.notifier.tell(&change).await.unwrap(), Recorded::Told { targets: 0 });
    running.notifier.test("a", None, false).await.unwrap();
    assert_eq!(running.notifier.list_targets().await.unwrap()[0].disabled, None);
    running.open("k").await;
}

#[tokio::test]
async fn a_test_goes_the_same_way_and_the_same_key_is_the_same_event() {
    let mut receiver = Receiver::start(&[BROKEN, OK]).await;
    let running = Rig::new().start(vec![receiver.target("a")]).await;
    let key = Some("deploy-7".to_owned());
    let first = running.notifier.test("a", key.clone(), false).await.unwrap();
    assert_eq!((first.state, first.status, first.answer.as_deref()), (DeliveryState::Dead, Some(500), Some("oops")));
    let second = running.notifier.test("a", key.clone(), false).await.unwrap();
    assert_eq!((second.state, second.status), (DeliveryState::Delivered, Some(200)));
    // What was delivered is not sent again.
    let third = running.notifier.test("a", key, false).await.unwrap();
    assert_eq!((third.state, &third.event_id), (DeliveryState::Delivered, &first.event_id));
    let (one, two) = (receiver.next().await, receiver.next().await);
    assert_eq!(one.event_type(), "test");
    assert_eq!(one.header("webhook-id"), two.header("webhook-id"));
    assert!(receiver.requests.try_recv().is_err());
    let other = running.notifier.test("a", None, false).await.unwrap();
    assert_ne!(other.event_id, first.event_id);
    assert!(matches!(running.notifier.test("b", None, false).await, Err(TestError::Unknown)));
}

#[tokio::test]
async fn a_test_with_retries_is_delivered_in_the_end() {
    let receiver = Receiver::start(&[BROKEN, BROKEN, OK]).await;
    let running = Rig::new().start(vec![receiver.target("a")]).await;
    running.notifier.test("a", None, true).await.unwrap();
    assert_eq!(running.until(|row| row.state == DeliveryState::Delivered).await.attempts, 3);
}

#[tokio::test]
async fn an_added_target_is_told_at_once_and_after_a_restart() {
    let mut receiver = Receiver::start(&[OK]).await;
    let rig = Rig::new();
    let running = rig.start(Vec::new()).await;
    running.notifier.add_target(receiver.target("a")).await.unwrap();
    let taken = running.notifier.add_target(receiver.target("a")).await;
    assert!(matches!(taken, Err(AddTargetError::NameExists)));
    running.open("i").await;
    receiver.next().await;
    running.until(|row| row.state == DeliveryState::Delivered).await;
    running.kill().await;
    let running = rig.start(Vec::new()).await;
    running.open("j").await;
    let request = receiver.next().await;
    assert_ne!(request.header("webhook-signature"), "(none)");
}

#[tokio::test]
async fn a_target_whose_stored_secret_is_broken_is_shown_and_never_called() {
    let mut receiver = Receiver::start(&[OK]).await;
    let rig = Rig::new();
    let running = rig.start(Vec::new()).await;
    running.notifier.add_target(receiver.target("a")).await.unwrap();
    running.kill().await;
    let file = rusqlite::Connection::open(rig.folder.path().join("state.db")).unwrap();
    file.execute("UPDATE targets SET secret = 'whsec_broken!'", []).unwrap();
    drop(file);
    let running = rig.start(Vec::new()).await;
    let shown = web::Webhooks::list(&running.notifier).await.remove(0);
    assert_snapshot!(shown.problem.unwrap(), @"its stored secret cannot be read (a secret is `whsec_` followed by base64); configure the target anew");
    running.open("i").await;
    let refused = running.notifier.test("a", None, false).await.unwrap_err();
    assert!(matches!(refused, TestError::Unusable(_)), "{refused}");
    assert!(receiver.requests.try_recv().is_err(), "it was called without a signature");
    assert_eq!(running.deliveries().await[0].state, DeliveryState::Pending);
}

#[tokio::test]
async fn a_target_that_the_guard_refuses_is_neither_added_nor_called() {
    let mut receiver = Receiver::start(&[OK]).await;
    let folder = tempfile::tempdir().unwrap();
    let config = NotifyConfig { guard: EgressGuard::new(Vec::new()), ..NotifyConfig::new(Vec::new(), Vec::new()) };
    let (_shutdown, is_down) = watch::channel(false);
    let configured = NotifyConfig { targets: vec![receiver.target("configured")], ..config };
    let state = State::open(folder.path()).unwrap();
    let (notifier, _task) = Notifier::start(state, configured, is_down).await.unwrap();
    let refused = notifier.add_target(receiver.target("added")).await.unwrap_err();
    assert!(matches!(refused, AddTargetError::Guard(GuardError::Private { .. })), "{refused}");
    let row = notifier.test("configured", None, false).await.unwrap();
    assert_eq!((row.state, row.status), (DeliveryState::Dead, None));
    assert!(row.error.unwrap().contains("webhooks.egress.allow"));
    assert!(receiver.requests.try_recv().is_err());
}

#[tokio::test]
async fn shutdown_ends_the_task() {
    let receiver = Receiver::start(&[OK]).await;
    let Running { _shutdown: shutdown, task, .. } = Rig::new().start(vec![receiver.target("a")]).await;
    shutdown.send(true).unwrap();
    tokio::time::timeout(PATIENCE, task).await.expect("the task ends").unwrap();
}
