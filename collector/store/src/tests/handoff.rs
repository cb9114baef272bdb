//! The hand-off to the writer under a model checker, which tries the orders in which threads can run. The file under
//! test is compiled once more here, with the checker's primitives in the place of the standard library's.

#[path = "../inbox.rs"]
#[allow(clippy::duplicate_mod, dead_code, reason = "the same code with other primitives")]
mod inbox;
mod sync {
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
}

use std::time::Duration;

use inbox::{Outbox, inbox};
use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::SeqCst;
use loom::thread;

/// A request: its number, and where the answer goes.
struct Request {
    number: usize,
    answer: Arc<AtomicUsize>,
}

const ANSWERED: usize = 1;
const DROPPED: usize = 2;

impl Drop for Request {
    fn drop(&mut self) {
        // As a oneshot channel does: who waits for an answer learns that there is none.
        let _ = self.answer.compare_exchange(0, DROPPED, SeqCst, SeqCst);
    }
}

fn send(outbox: Outbox<Request>, number: usize, durable: Arc<AtomicUsize>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let answer = Arc::new(AtomicUsize::new(0));
        let sent = outbox.send(Request { number, answer: Arc::clone(&answer) });
        let is_durable = durable.load(SeqCst) & (1 << number) != 0;
        if answer.load(SeqCst) == ANSWERED {
            assert!(sent.is_ok());
            assert!(is_durable || durable.load(SeqCst) & (1 << number) != 0, "answered before it was durable");
        }
    })
}

/// Tries all orders with at most this many switches between threads that could have gone on.
const SWITCHES_MAX: usize = 3;

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(SWITCHES_MAX);
    model.check(run);
}

#[test]
fn every_request_is_taken_once_and_answered_after_its_sync() {
    model(|| {
        let (outbox, inbox) = inbox::<Request>();
        let durable = Arc::new(AtomicUsize::new(0));
        let senders = [send(outbox.clone(), 0, Arc::clone(&durable)), send(outbox, 1, Arc::clone(&durable))];
        let mut taken = 0;
        while taken < 2 {
            let group = inbox.take(Duration::from_secs(3_600));
            let numbers = group.iter().fold(0, |numbers, request| numbers | 1 << request.number);
            // One sync for all that waited.
            assert_eq!(durable.fetch_or(numbers, SeqCst) & numbers, 0, "taken twice");
            taken += group.len();
            for request in &group {
                request.answer.store(ANSWERED, SeqCst);
            }
        }
        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(durable.load(SeqCst), 0b11);
    });
}

#[test]
fn nobody_waits_for_ever_for_a_writer_that_ends() {
    model(|| {
        let (outbox, inbox) = inbox::<Request>();
        let answer = Arc::new(AtomicUsize::new(0));
        let request = Request { number: 0, answer: Arc::clone(&answer) };
        let sender = thread::spawn(move || outbox.send(request).is_ok());
        drop(inbox);
        let _ = sender.join().unwrap();
        assert_eq!(answer.load(SeqCst), DROPPED, "it was refused, or dropped with the inbox");
    });
}
