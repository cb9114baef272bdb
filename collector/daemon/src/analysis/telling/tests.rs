use analyzer::incident::{IncidentEvent, IncidentStatus};
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::notify::NotifyConfig;
use crate::state::State;
use crate::state::tests::{happening, incident};

/// A teller on a state in a folder of its own, with room for two changes.
struct Bench {
    folder: TempDir,
    state: State,
    teller: Teller,
    task: JoinHandle<()>,
    _run: watch::Sender<bool>,
}

impl Bench {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let (run, stopped) = watch::channel(false);
        let config = NotifyConfig::new(Vec::new(), Vec::new());
        let (notifier, _) = Notifier::start(state.clone(), config, stopped).await.unwrap();
        let (teller, task) = Teller::start(notifier, store(folder.path()).await, 2);
        Self { folder, state, teller, task, _run: run }
    }

    fn open(&self, number: u64) {
        let incident = incident(&format!("incident-{number}"), number, IncidentStatus::Open);
        self.teller.tell(happening(incident, IncidentEvent::Opened, 1));
    }

    /// Runs a statement on the state's file, as another process would.
    fn execute(&self, sql: &str) {
        let other = rusqlite::Connection::open(self.folder.path().join("state.db")).unwrap();
        other.execute_batch(sql).unwrap();
    }

    /// Ends the task; returns the numbers of the incidents that were saved.
    async fn saved(self) -> Vec<u64> {
        drop(self.teller);
        self.task.await.unwrap();
        let mut saved: Vec<u64> =
            self.state.load_incidents(10).await.unwrap().iter().map(|incident| incident.number).collect();
        saved.sort_unstable();
        saved
    }
}

#[tokio::test]
async fn a_change_that_finds_no_room_is_counted_and_the_others_are_saved_at_the_end() {
    let bench = Bench::start().await;
    let counts = bench.teller.counts();
    for number in 1..=3 {
        bench.open(number);
    }
    assert_eq!(bench.saved().await, [1, 2]);
    assert_eq!((counts.failed(), counts.lost()), (0, 1));
}

#[tokio::test]
async fn a_change_is_tried_again_until_the_state_can_be_written() {
    let bench = Bench::start().await;
    let counts = bench.teller.counts();
    bench.execute("ALTER TABLE incidents RENAME TO away");
    bench.open(1);
    while counts.failed() == 0 {
        tokio::task::yield_now().await;
    }
    bench.open(2);
    bench.execute("ALTER TABLE away RENAME TO incidents");
    assert_eq!(bench.saved().await, [1, 2]);
    assert_eq!(counts.lost(), 0);
}

/// A store beside the state.
async fn store(folder: &std::path::Path) -> Store {
    let config =
        collector_store::Config { disk_free_bytes_min: 0, ..collector_store::Config::new(folder.join("store")) };
    Store::open(config, |_, _| None).await.unwrap().0
}
