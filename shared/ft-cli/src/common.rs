//! The arguments that all programs share.

use std::num::NonZeroUsize;

/// How log lines and errors are written to stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `ft-prep: message`, for people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

const HEADING: &str = "Common options";

/// Arguments of every program; flatten it into the program's own.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Common {
    /// How to write messages to stderr
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text", global = true,
        help_heading = HEADING)]
    pub log_format: LogFormat,

    /// Say nothing but warnings and errors, and draw no progress bar
    #[arg(short, long, global = true,
        help_heading = HEADING, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more; twice says everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true,
        help_heading = HEADING)]
    pub verbose: u8,

    /// Threads to use [default: as many as the machine has cores]
    #[arg(long, value_name = "N", global = true, value_parser = threads, help_heading = HEADING)]
    pub threads: Option<NonZeroUsize>,

    /// Download nothing: a model named org/name must be in the Hugging Face cache (HF_HUB_OFFLINE=1 does the same)
    #[arg(long, global = true, help_heading = HEADING)]
    pub offline: bool,

    /// Print a script that completes this program's arguments in a shell
    #[arg(long, value_name = "SHELL", value_enum, exclusive = true, help_heading = HEADING)]
    pub completions: Option<clap_complete::Shell>,

    /// Write this program's manual pages into a folder
    #[arg(long, value_name = "DIR", exclusive = true, hide = true, help_heading = HEADING)]
    pub man_pages: Option<std::path::PathBuf>,
}

impl Common {
    /// How many threads the program may use: `--threads`, or the cores that
    /// the process may run on.
    pub fn thread_count(&self) -> usize {
        self.threads
            .map_or_else(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get), NonZeroUsize::get)
    }
}

/// More threads than any machine has cores for; starting them would take longer than the work.
const MOST_THREADS: usize = 4_096;

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let told = || format!("expected a number of threads from 1 to {MOST_THREADS}");
    text.parse().ok().filter(|n: &NonZeroUsize| n.get() <= MOST_THREADS).ok_or_else(told)
}
