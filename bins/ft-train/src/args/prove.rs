//! What is asked about a run before or after it.

use std::path::PathBuf;

/// Looking ahead and looking back.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Plan and proof")]
pub struct ProveArgs {
    /// Say what the run would do and need, measured on one of its micro-batches, and stop: rows, tokens, steps, the
    /// learning rate's curve, memory and time
    #[arg(long)]
    pub dry_run: bool,
    /// Repeat the run of this output folder elsewhere, and say whether it comes out equal, or where it first differs;
    /// its configuration is that of its run.json, in which --threads, --activation-memory and, where they lie
    /// elsewhere now or were given by an absolute path, --model, --train, --eval and --init-adapter are given anew
    #[arg(long, value_name = "DIR")]
    pub verify: Option<PathBuf>,
    /// Repeat only these steps, from the checkpoint after step FROM to the one after step TO
    #[arg(long, value_name = "FROM..TO", requires = "verify", value_parser = steps)]
    pub verify_steps: Option<(u64, u64)>,
}

fn steps(text: &str) -> Result<(u64, u64), String> {
    let wrong = || "expected two steps, the first below the second, as 100..200".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
    let (from, to) = (number(from)?, number(to)?);
    if from < to { Ok((from, to)) } else { Err(wrong()) }
}
