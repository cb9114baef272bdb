//! Backtests: what another budget would have told of a stored window. Pages and the API ask; one question at a time is
//! answered by a thread of low priority, the last answers are kept. Must never write anything, or hold up what arrives:
//! it stops by itself when the daemon stops or needs the memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use analyzer::AnalyzerLimits;
use collector_store::Reader;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use web::{BacktestAnswer, BacktestProgress, BacktestQuestion, BacktestResult};

use crate::memory::Memory;
use crate::state::State;

mod replay;

/// Answers that are kept; of more, those that were asked for least recently go. At most some 10 MiB.
const KEPT_MAX: usize = 8;
/// After this time a question that failed may be asked again.
const FAILURE_KEPT: Duration = Duration::from_secs(30);

/// Answers questions. Clones are the same desk.
#[derive(Clone)]
pub(crate) struct Backtests(Arc<Inner>);

/// What a replay needs.
pub(crate) struct Means {
    /// Stored data.
    pub(crate) reader: Reader,
    /// What really opened.
    pub(crate) state: State,
    /// As those of the daemon, within less memory; the budget is the question's.
    pub(crate) limits: AnalyzerLimits,
    /// Whether there is room.
    pub(crate) memory: Memory,
    /// Whether the daemon stops.
    pub(crate) stopped: watch::Receiver<bool>,
    /// Bounds of one replay.
    pub(crate) bounds: Bounds,
}

/// Where a replay ends at the latest; its answer is about the time up to there, and says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) spans_max: u64,
    pub(crate) takes_max: Duration,
}

impl Bounds {
    /// An hour of some 5,000 spans a second.
    pub(crate) const USUAL: Self = Self { spans_max: 20_000_000, takes_max: Duration::from_secs(15 * 60) };
}

struct Inner {
    means: Means,
    runtime: Handle,
    desk: Mutex<Desk>,
    is_running: watch::Sender<bool>,
}

#[derive(Default)]
struct Desk {
    running: Option<(BacktestQuestion, BacktestProgress)>,
    /// Least recently asked first.
    kept: VecDeque<Kept>,
}

struct Kept {
    question: BacktestQuestion,
    answer: Result<Arc<BacktestResult>, String>,
    since: Instant,
}

impl Backtests {
    /// Returns an empty desk; queries run on this runtime.
    pub(crate) fn new(means: Means, runtime: Handle) -> Self {
        let (desk, is_running) = (Mutex::default(), watch::Sender::new(false));
        Self(Arc::new(Inner { means, runtime, desk, is_running }))
    }

    /// Answers a question, or begins to compute it if nothing else is being computed.
    pub(crate) fn ask(&self, question: BacktestQuestion) -> BacktestAnswer {
        let mut desk = self.0.desk();
        if let Some(answer) = desk.kept(&question) {
            return answer;
        }
        match desk.running {
            Some((running, progress)) if running == question => return BacktestAnswer::Running(progress),
            Some((running, progress)) => return BacktestAnswer::Busy(running, progress),
            None => {}
        }
        let task = Task { inner: Arc::clone(&self.0), question, answer: Err("it ended too early".to_owned()) };
        let progress = replay::progress(&question, i64::MIN, 0);
        // Before the thread begins: it may be done at once.
        desk.running = Some((question, progress));
        self.0.is_running.send_replace(true);
        drop(desk);
        match thread::Builder::new().name("backtest".to_owned()).spawn(move || task.run()) {
            Ok(_) => BacktestAnswer::Running(progress),
            // The task was dropped, which has ended it.
            Err(error) => BacktestAnswer::Failed(format!("no thread could be started: {error}")),
        }
    }

    /// Resolves when nothing is being computed.
    pub(crate) async fn ended(self) {
        // The sender is held here, so that it cannot be gone.
        let _ = self.0.is_running.subscribe().wait_for(|is_running| !is_running).await;
    }
}

impl Inner {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn kept(&mut self, question: &BacktestQuestion) -> Option<BacktestAnswer> {
        let place = self.kept.iter().position(|kept| kept.question == *question)?;
        let kept = self.kept.remove(place)?;
        let answer = match &kept.answer {
            Ok(result) => BacktestAnswer::Done(Arc::clone(result)),
            Err(_) if kept.since.elapsed() >= FAILURE_KEPT => return None,
            Err(why) => BacktestAnswer::Failed(why.clone()),
        };
        self.kept.push_back(kept);
        Some(answer)
    }

    fn keep(&mut self, kept: Kept) {
        self.kept.push_back(kept);
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
    }
}

/// One question on its thread. However it ends, the desk is free afterwards.
struct Task {
    inner: Arc<Inner>,
    question: BacktestQuestion,
    answer: Result<BacktestResult, String>,
}

impl Task {
    fn run(mut self) {
        be_nice();
        let began = Instant::now();
        let tell = |progress| self.inner.desk().running = Some((self.question, progress));
        let replayed = self.inner.runtime.block_on(replay::replay(&self.inner.means, self.question, tell));
        match &replayed {
            Ok(found) => tracing::info!(
                budget = self.question.false_alarms_per_week,
                spans = found.spans,
                incidents = found.would_open.len(),
                took_ms = began.elapsed().as_millis(),
                "a backtest is done"
            ),
            Err(error) => tracing::warn!("a backtest ended without a result: {error:#}"),
        }
        self.answer = replayed.map_err(|error| format!("{error:#}"));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let answer = std::mem::replace(&mut self.answer, Err(String::new())).map(Arc::new);
        let mut desk = self.inner.desk();
        desk.running = None;
        desk.keep(Kept { question: self.question, answer, since: Instant::now() });
        // While nobody can begin the next.
        self.inner.is_running.send_replace(false);
    }
}

/// Lets everything else on this machine go first. Where that is not possible it runs as it is.
fn be_nice() {
    const NICE: i32 = 10;
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
}

#[cfg(test)]
mod tests;
