# What people and CI run. `just --list` shows it.

# Formats, lints and tests everything, as CI does.
check: lint test

# Formatting and lints, without a warning left.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# All tests.
test:
    cargo test --workspace

# What ingest costs, beside a server that only receives; some five minutes. See docs/benchmarks.md.
bench:
    cargo bench --bench ingest

# How well the analysis judges simulated systems; `just score faults seeds 3`, see docs/simulator.md.
score *what:
    cargo run --release -p analyzer --example score -- {{what}}

# The daemon with a simulated shop that turns slow after a while.
demo:
    cargo run --release -- demo

# What CI runs on a fresh machine: installs what is missing, then lints and tests.
ci:
    .ci/run
