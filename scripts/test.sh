#!/usr/bin/env bash
# scripts/test.sh: format, lints, licences and all tests. Installs what a bare Debian 12 or Ubuntu 24.04 lacks.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/prepare.sh

prepare_build
prepare_reader

say "format"
cargo fmt --all --check
say "tests"
# The tests that need the independent Delta reader are ignored by a plain `cargo test`.
cargo test --release --locked --workspace -- --include-ignored
say "lints"
cargo clippy --release --locked --workspace --all-targets -- -D warnings
say "licences and bans"
prepare_deny
# It looks at the manifests of all targets, also of those that are not built here.
cargo fetch --quiet --locked
cargo deny --offline --locked check licenses bans sources
say "all passed"
