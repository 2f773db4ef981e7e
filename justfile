# The verbs of the README.

# Format, lints, licences and all tests.
test:
    scripts/test.sh

# The demo, from an empty folder to the report.
demo target="dev" job="profile-memory-demo":
    scripts/run_demo.sh {{target}} {{job}}

# What CI runs.
ci:
    .ci/run

# Format the code.
format:
    cargo fmt --all

# Quick look while writing.
check:
    cargo check --release --workspace --all-targets
