#!/usr/bin/env bash
# scripts/run_demo.sh [TARGET] [JOB]: builds memoir, then validates, deploys and runs a job of the bundle.
# TARGET is `dev` and JOB is `profile-memory-demo` unless given. Run again it adds no row.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/prepare.sh

target="${1:-dev}"
job="${2:-profile-memory-demo}"

prepare_build
build_memoir
say "bundle: validate, deploy and run $job for target $target"
"$MEMOIR" bundle validate -t "$target" >&2
"$MEMOIR" bundle deploy -t "$target" >&2
"$MEMOIR" bundle run "$job" -t "$target"
