//! From `main` to the exit code.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::common::{Common, LogFormat};
use crate::{chain, interrupt, logging, output, progress};

/// Parses the arguments, sets up logging, signals and threads, runs `body`,
/// and turns what it returns into the exit code and one line on stderr.
///
/// `tool` is the program's name as messages show it; `common` finds the shared
/// arguments in `A`.
pub fn run<A: clap::Parser>(
    tool: &'static str,
    common: fn(&A) -> &Common,
    body: fn(A) -> anyhow::Result<()>,
) -> ExitCode {
    let args = match A::try_parse() {
        Ok(args) => args,
        Err(error) => return wrong_arguments(tool, &error),
    };
    let shared = common(&args).clone();
    logging::install(tool, &shared);
    progress::configure(!shared.quiet && shared.log_format == LogFormat::Text);
    interrupt::install();
    if let Some(threads) = shared.threads {
        // Fails only where a pool exists already; then that one serves.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global();
    }

    panic::set_hook(Box::new(move |info| tracing::debug!("{info}")));
    let result = panic::catch_unwind(AssertUnwindSafe(|| body(args)));
    let (message, code) = match result {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(_)) if output::stdout_closed() => return ExitCode::SUCCESS,
        Ok(Err(error)) => (chain::one_line(&error), chain::exit_code(&error)),
        Err(payload) => (panic_message(&*payload), 1),
    };
    logging::error_line(tool, shared.log_format, &message);
    ExitCode::from(code)
}

/// Help and version go to stdout; a wrong argument is one line on stderr.
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
    logging::error_line(tool, LogFormat::Text, &message);
    ExitCode::from(2)
}

/// A panic is a fault of ours; say so in the same one line.
fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown");
    format!("internal fault, please report it (run with -v for where): {}", chain::flat(text))
}
