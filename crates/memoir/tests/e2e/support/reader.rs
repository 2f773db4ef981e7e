//! The tables as another Delta reader sees them.

use std::path::Path;
use std::process::Command;

/// The sorted rows of a table as JSON lines, read by the `deltalake` package of the Python that `MEMOIR_TEST_PYTHON`
/// names. `scripts/test.sh` sets it.
pub fn read_independently(table: &Path, without: &[&str]) -> Vec<String> {
    let python = std::env::var_os("MEMOIR_TEST_PYTHON")
        .expect("MEMOIR_TEST_PYTHON names a Python that has the deltalake package (scripts/test.sh sets it)");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_audit.py");
    let output = Command::new(python).arg(script).arg(table).args(without).output().unwrap();
    assert!(output.status.success(), "{}: {}", table.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
