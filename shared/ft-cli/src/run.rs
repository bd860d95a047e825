//! From `main` to the exit code.

use std::ffi::OsString;
use std::io::Write;
use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::error::ErrorKind;
use ft_io::{interrupt, output};

use crate::common::{Common, LogFormat};
use crate::program::Program;
use crate::{chain, logging, progress};

/// Parses the arguments, sets up logging, signals and threads, runs `body`,
/// and turns what it returns into the exit code and one line on stderr.
///
/// `program` is its name as messages show it, or more of it; `common` finds the
/// shared arguments in `A`.
pub fn run<A: clap::Parser>(
    program: impl Into<Program>,
    common: fn(&A) -> &Common,
    body: fn(A) -> anyhow::Result<()>,
) -> ExitCode {
    let program = program.into();
    let tool = program.name;
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(answered) = program.answer(&words, A::command) {
        return after_answer(tool, answered);
    }
    let args = match A::try_parse() {
        Ok(args) => args,
        Err(error) if error.kind() == ErrorKind::DisplayVersion => return say_version(&program),
        Err(error) => return wrong_arguments(tool, &error),
    };
    let shared = common(&args).clone();
    logging::install(tool, &shared);
    progress::configure(!shared.quiet && shared.log_format == LogFormat::Text);
    interrupt::install();
    panic::set_hook(Box::new(remember_panic));
    // A panic in the pool must not abort the process: whoever waits for the
    // result learns of it. Fails only where a pool exists already; then that
    // one serves.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(shared.threads.map_or(0, NonZeroUsize::get))
        .panic_handler(|_| ())
        .build_global();

    let result = panic::catch_unwind(AssertUnwindSafe(|| body(args)));
    let (message, code) = match result {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(_)) if output::listing_closed() => return ExitCode::SUCCESS,
        // After a signal the cause is often a program before us in the pipe
        // that got it too.
        Ok(Err(error)) if interrupt::requested() => (chain::one_line(&error), 130),
        Ok(Err(error)) => (chain::one_line(&error), chain::exit_code(&error)),
        Err(_) => (panic_message(), 1),
    };
    logging::error_line(tool, shared.log_format, &message);
    ExitCode::from(code)
}

fn say_version(program: &Program) -> ExitCode {
    let mut stdout = output::listing();
    after_answer(program.name, writeln!(stdout, "{}", program.version()).and_then(|()| stdout.flush()))
}

/// A closed pipe behind what a program says of itself is no failure.
fn after_answer(tool: &str, answered: std::io::Result<()>) -> ExitCode {
    match answered {
        Err(error) if !output::listing_closed() => {
            logging::error_line(tool, logging::format_of(std::env::args_os()), &format!("cannot answer: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Help goes to stdout; a wrong argument is one line on stderr.
fn wrong_arguments(tool: &str, error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A closed pipe behind `--help` is no failure.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = text.find("\nUsage:").or_else(|| text.find("\nFor more information")).unwrap_or(text.len());
    let mut message = chain::flat(&text[..end]);
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        "arguments are missing".clone_into(&mut message);
    }
    let message = format!("{message}; see '{tool} --help'");
    logging::error_line(tool, logging::format_of(std::env::args_os()), &message);
    ExitCode::from(2)
}

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Keeps what the last panic said and where, in place of the lines that Rust
/// would print.
fn remember_panic(info: &PanicHookInfo<'_>) {
    tracing::debug!("{}", chain::flat(&info.to_string()));
    let mut last = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
    *last = chain::flat(&info.to_string());
}

/// A panic is a fault of ours; say so in the same one line.
fn panic_message() -> String {
    let last = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
    format!("internal fault, please report it: {last}")
}
