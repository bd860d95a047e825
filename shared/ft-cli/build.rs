//! Tells the programs which commit they are built from: FT_COMMIT where a packager says so, else what git says.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=FT_COMMIT");
    let said = std::env::var("FT_COMMIT").ok().filter(|commit| !commit.is_empty());
    println!("cargo:rustc-env=FT_COMMIT={}", said.unwrap_or_else(by_git));
}

/// The commit of the working tree; `unknown` in a tree without git's records.
fn by_git() -> String {
    // Each commit writes this file.
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.git/logs/HEAD");
    if log.exists() {
        println!("cargo:rerun-if-changed={}", log.display());
    }
    let git = Command::new("git").args(["rev-parse", "--short=10", "HEAD"]).output();
    let found = git.ok().filter(|done| done.status.success()).and_then(|done| String::from_utf8(done.stdout).ok());
    found.map_or_else(|| "unknown".into(), |commit| commit.trim().to_owned())
}
