//! CPU time and memory of a process, from procfs, and on which core programs run.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Linux counts CPU time of processes in hundredths of a second (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;
/// CPU time within [`IDLE_WINDOW`] below which a process has nothing left to do, seconds.
const IDLE_CPU_SECONDS: f64 = 0.05;
const IDLE_WINDOW: Duration = Duration::from_secs(2);
/// Longest wait for that.
const IDLE_PATIENCE: Duration = Duration::from_secs(180);

/// Returns the CPU time, user and system, that a process has used, seconds.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field after it.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

/// Returns the most memory that a process had resident, MiB.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

/// Returns when the process has hardly used the CPU for a while.
pub(crate) fn wait_until_idle(pid: u32) {
    let started = Instant::now();
    while started.elapsed() < IDLE_PATIENCE {
        let before = cpu_seconds(pid);
        thread::sleep(IDLE_WINDOW);
        if cpu_seconds(pid) - before < IDLE_CPU_SECONDS {
            return;
        }
    }
    println!("the server was still busy {} s later", IDLE_PATIENCE.as_secs());
}

/// Pins this process to the last core, if there are two and `taskset` is installed.
pub(crate) fn pin_to_last_core() -> bool {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let pin = || {
        let own = std::process::id().to_string();
        Command::new("taskset").args(["-a", "-p", "-c", &(cores - 1).to_string(), &own]).output()
    };
    cores > 1 && pin().is_ok_and(|output| output.status.success())
}

/// Returns a command that runs a program on the first core, if `taskset` is installed.
pub(crate) fn on_first_core(program: &str) -> Command {
    if Command::new("taskset").arg("--version").output().is_ok_and(|output| output.status.success()) {
        let mut command = Command::new("taskset");
        command.args(["-c", "0", program]);
        return command;
    }
    Command::new(program)
}
