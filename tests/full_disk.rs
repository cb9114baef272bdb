//! A full disk: the real daemon on a small file system of its own refuses so that senders come back, goes on answering,
//! and takes requests again soon after there is room. Must never fill a disk that others use.

#![allow(clippy::unwrap_used)]

mod daemon;

use std::path::Path;
use std::process::Command;

use daemon::traffic::now_ns;
use daemon::{Answer, Daemon, exchange_bytes, skip, wait_until};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

const TEST: &str = "a full disk";
const DISK_MIB: u64 = 96;
/// Less free space than this counts as full.
const FREE_MIN: &str = "24MiB";

/// A file system in memory; taken away at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={DISK_MIB}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the daemon may still be ending.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

#[test]
fn a_full_disk_refuses_for_now_and_recovers_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        return skip(TEST, "mounting a small file system needs root");
    };
    let settings = vec![
        ("THROUGHLINE_DATA_DIR", disk.path().join("data").display().to_string()),
        ("THROUGHLINE_LIMITS__DISK_FREE", FREE_MIN.to_owned()),
    ];
    let daemon = Daemon::start_with(settings);
    let kept = |number: u64| send(&daemon, number).status == 200;
    assert!(kept(0));
    daemon.wait_for_count("SELECT count(*) FROM spans", 1);

    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; usize::try_from((DISK_MIB - 16) << 20).unwrap()]).unwrap();
    let mut refused = None;
    wait_until("a request is refused", || {
        let answer = send(&daemon, 1);
        let is_refused = answer.status != 200;
        refused = is_refused.then_some(answer);
        is_refused
    });
    let refused = refused.unwrap();
    assert_eq!(refused.status, 503, "retryable");
    assert!(refused.headers["retry-after"].parse::<u32>().unwrap() > 0, "with a hint");
    assert!(daemon.count("SELECT count(*) FROM spans") >= 1, "reads go on");
    assert!(daemon.get("/metrics").1.contains("reason=\"no_space\""), "it is counted by its reason");
    assert_eq!(daemon.get("/readyz").0, 503, "it says that it cannot keep anything");

    std::fs::remove_file(ballast).unwrap();
    wait_until("requests are kept again", || kept(2));
    daemon.wait_for_count("SELECT count(*) FROM spans", 2);
}

fn send(daemon: &Daemon, number: u64) -> Answer {
    let at_ns = now_ns();
    let span = Span {
        trace_id: u128::from(number + 1).to_be_bytes().to_vec(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        name: "work".to_owned(),
        start_time_unix_nano: at_ns,
        end_time_unix_nano: at_ns + 1,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    exchange_bytes(daemon.http, "POST", "/v1/traces", "application/x-protobuf", &body).unwrap()
}
