//! The command line as users of `HfArgumentParser` type it.

use std::sync::OnceLock;

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command, CommandFactory};

use super::kept::kept;
use super::peers;
use crate::args::Args;

/// Switches of all our programs, which stay what they are there.
const PLAIN: [&str; 6] = ["quiet", "verbose", "offline", "print_config", "config_schema", "dry_run"];

/// Arguments about the command line itself, which have no place in a configuration.
pub const NOT_IN_FILES: [&str; 14] = [
    "config",
    "accelerate_config",
    "print_config",
    "config_schema",
    "quiet",
    "verbose",
    "help",
    "version",
    "dry_run",
    "verify",
    "verify_steps",
    "offline",
    "completions",
    "man_pages",
];

/// [`Args`]'s command, in which every name may also be written with underscores, a switch may have a value
/// (`--bf16 false`), the last of several equal flags counts, and the arguments of others that have no use here are
/// known.
pub fn command() -> Command {
    static COMMAND: OnceLock<Command> = OnceLock::new();
    COMMAND.get_or_init(made).clone()
}

fn made() -> Command {
    let mut command = Args::command().args_override_self(true).mut_args(as_theirs);
    for knob in peers::KNOBS {
        command = command.arg(knob.arg());
    }
    command.build();
    command
}

fn as_theirs(arg: Arg) -> Arg {
    let names = arg.get_long().into_iter().chain(arg.get_all_aliases().into_iter().flatten());
    let snake: Vec<&str> = names.filter(|name| name.contains('-')).map(|name| kept(name.replace('-', "_"))).collect();
    let switch = matches!(arg.get_action(), ArgAction::SetTrue) && !PLAIN.contains(&arg.get_id().as_str());
    let arg = arg.aliases(snake);
    if !switch {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .value_name("BOOL")
        .hide_possible_values(true)
        .default_value("false")
        .hide_default_value(true)
        .default_missing_value("true")
        .value_parser(BoolishValueParser::new())
}

/// The argument that a key of a file names, in whichever way it is written.
pub fn find<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    let kebab = key.replace('_', "-");
    let is = |arg: &&Arg| {
        arg.get_long() == Some(&kebab) || arg.get_all_aliases().is_some_and(|all| all.contains(&kebab.as_str()))
    };
    command.get_arguments().find(is)
}

/// What an argument is called in files: as Hugging Face does, with underscores.
pub fn key(arg: &Arg) -> String {
    arg.get_long().unwrap_or(arg.get_id().as_str()).replace('-', "_")
}
