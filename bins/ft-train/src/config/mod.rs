//! From the command line and a configuration file to what a run is.
//!
//! A file's keys are the arguments' names; they are read as if they had been typed before the flags, so that the last
//! one, the flag, wins, and so that both are held to the same rules.

mod accelerate;
mod argv;
mod check;
mod file;
mod kept;
mod kind;
mod lists;
mod node;
mod peers;
mod resolved;
mod schema;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::error::ErrorKind;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser};

use crate::args::{Args, LogLevel};
use ft_model::device::DeviceName;
use ft_trainer::options::Configuration;
use serde_json::{Map, Value};

use crate::environment;

use accelerate::Accelerate;
use peers::KNOBS;
pub use resolved::Resolved;

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Cli {
    pub args: Args,
    /// Every argument's value, and where it comes from.
    pub resolved: Resolved,
    /// What is to be said of arguments that do less here than elsewhere, a line each.
    pub notes: Vec<String>,
    /// When the program began.
    pub started: Instant,
}

impl Cli {
    /// Reads arguments, the program's name first, and the files that `--accelerate-config` and `--config` name; a flag
    /// wins over both, and the second over the first, where they need not agree.
    ///
    /// # Errors
    /// What clap says of a wrong flag, and the file, the key and what was expected of a wrong file; help and version.
    pub fn read(typed: &[OsString]) -> Result<Self, clap::Error> {
        let mut command = argv::command();
        let typed = lists::spelled_out(&command, typed);
        let (program, flags) = typed.split_at(typed.len().min(1));
        let of_flags = command.try_get_matches_from_mut(&typed)?;
        let mut all = program.to_vec();
        let mut keys = Vec::new();
        let accelerate = Accelerate::named(&of_flags).map_err(wrong)?;
        if let Some(accelerate) = &accelerate {
            all.extend(accelerate.words().map(Into::into));
            command.try_get_matches_from_mut(&all).map_err(|e| wrong(accelerate.wrong(&said(&e))))?;
        }
        if let Some(path) = of_flags.get_one::<PathBuf>("config") {
            let found = file::read(path, &command).map_err(wrong)?;
            all.extend(found.words.into_iter().map(Into::into));
            keys = found.keys;
            // Without the flags, so that what is wrong with a value is said of the file.
            command.try_get_matches_from_mut(&all).map_err(|e| wrong(format!("'{}': {}", path.display(), said(&e))))?;
        }
        all.extend_from_slice(flags);
        let matches = command.try_get_matches_from_mut(all)?;
        let args = Args::from_arg_matches(&matches)?;
        let of_accelerate = accelerate.as_ref().map(Accelerate::keys).unwrap_or_default();
        let resolved = Resolved::new(&command, &matches, &of_flags, &keys, &of_accelerate);
        let mut notes = Vec::new();
        if let Some(accelerate) = accelerate {
            accelerate.require_agreement(&args, &resolved).map_err(wrong)?;
            notes = accelerate.notes();
        }
        Self { args, resolved, notes, started: Instant::now() }.checked(&matches)
    }

    /// Holds the arguments against each other.
    fn checked(mut self, matches: &ArgMatches) -> Result<Self, clap::Error> {
        let notes = peers::notes(matches).map_err(wrong)?;
        if self.args.use_cpu {
            let device = &mut self.args.device.device;
            if let DeviceName::Cuda(_) = *device {
                return Err(wrong(format!("--use-cpu and --device {device} contradict each other; leave one out")));
            }
            *device = DeviceName::Cpu;
        }
        if self.trains() {
            check::check(&self.args, &self.resolved).map_err(wrong)?;
        }
        self.notes.extend(notes.into_iter().chain(check::notes(&self.args, &self.resolved)));
        let common = &mut self.args.common;
        // What is wrong in the environment is told when ranks are started.
        common.threads = common.threads.or_else(|| environment::threads().ok().flatten());
        match self.args.log.log_level {
            LogLevel::Debug => common.verbose = common.verbose.max(1),
            LogLevel::Warning | LogLevel::Error | LogLevel::Critical => common.quiet = true,
            LogLevel::Info | LogLevel::Passive => {}
        }
        Ok(self)
    }

    /// What the run and its record know of all this.
    pub fn configuration(&self) -> Configuration {
        let map = |value: Value| if let Value::Object(map) = value { map } else { Map::new() };
        Configuration {
            values: map(self.resolved.for_record()),
            origins: map(self.resolved.origins()),
            without_effect: KNOBS.iter().map(|knob| knob.name.to_owned()).collect(),
            typed: ft_cli::typed_arguments(&["-o", "--output-dir", "--output"], &[]),
        }
    }

    /// Whether a run is asked for, and not words about one.
    fn trains(&self) -> bool {
        !self.args.ask.config_schema && !self.args.ask.print_config && self.args.prove.verify.is_none()
    }

    /// Answers `--print-config` and `--config-schema`; says whether it was one of them.
    pub fn answer(&self) -> Result<bool> {
        let text = if self.args.ask.config_schema {
            let schema = schema::schema(&argv::command());
            serde_json::to_string_pretty(&schema)? + "\n"
        } else if self.args.ask.print_config {
            self.resolved.to_yaml()
        } else {
            return Ok(false);
        };
        let mut stdout = ft_io::output::listing();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to stdout")?;
        Ok(true)
    }
}

/// A fault that clap did not find itself; it is told and ends the program as clap's are.
fn wrong(message: String) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, message)
}

/// What clap says, without its hints to the usage.
fn said(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = text.find("\nUsage:").or_else(|| text.find("\nFor more information")).unwrap_or(text.len());
    text[..end].split_whitespace().collect::<Vec<_>>().join(" ")
}

impl CommandFactory for Cli {
    fn command() -> Command {
        argv::command()
    }

    fn command_for_update() -> Command {
        argv::command()
    }
}

impl FromArgMatches for Cli {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let resolved = Resolved::new(&argv::command(), matches, matches, &[], &[]);
        Self { args: Args::from_arg_matches(matches)?, resolved, notes: Vec::new(), started: Instant::now() }
            .checked(matches)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Parser for Cli {
    fn try_parse() -> Result<Self, clap::Error> {
        Self::read(&std::env::args_os().collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests;
