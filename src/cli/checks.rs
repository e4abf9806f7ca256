//! The checks of a run's files, which every command that reads one makes.

use crate::registry::Modalities;
use crate::run::{Run, RunError};
use crate::train::Checks;
use clap::Args;
use std::path::Path;
use std::sync::OnceLock;

/// Which checks to leave out.
#[derive(Args)]
pub struct CheckArgs {
    /// Read a run's files even if their checksums differ.
    ///
    /// A run lists the checksum of each of its files in checksums.json. Files that differ are damaged, or come from elsewhere.
    /// `smalti info RUN --verify` checks all files.
    #[arg(long, global = true, hide_short_help = true)]
    no_verify: bool,
    /// Read weights that are infinite or not numbers (NaN).
    #[arg(long, global = true, hide_short_help = true)]
    allow_non_finite: bool,
}

/// The checks of this process, which runs one command.
static CHECKS: OnceLock<Checks> = OnceLock::new();

impl CheckArgs {
    /// Sets the checks of this process.
    pub fn choose(&self) {
        let _ = CHECKS.set(Checks { checksums: !self.no_verify, finite: !self.allow_non_finite });
    }
}

/// The checks of this process.
pub fn chosen() -> Checks {
    CHECKS.get().copied().unwrap_or_default()
}

/// Opens a run with the checks of this process.
pub fn open(folder: &Path, modalities: &Modalities) -> Result<Run, RunError> {
    Run::open_checked(folder, modalities, chosen())
}
