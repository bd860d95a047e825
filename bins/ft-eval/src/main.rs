//! `ft-eval`: measure a language model: loss, answers, multiple choice; and two of them against each other.

mod answer_file;
mod args;
mod chat;
mod choice;
mod choice_file;
mod chosen;
mod compare;
mod generate;
mod interrupted;
mod lm_eval;
mod loss;
mod model;
mod question;
mod report;
mod row_file;

use std::process::ExitCode;

use anyhow::Result;
use ft_cli::Program;
use ft_kernels::simd::Isa;

use args::{Args, Task};

/// What `--version` tells.
const PROGRAM: Program = Program {
    name: "ft-eval",
    features: &[
        #[cfg(feature = "cuda")]
        "cuda",
    ],
    instruction_set: Some(|| Isa::best().name()),
};

fn main() -> ExitCode {
    ft_cli::run(PROGRAM, |args: &Args| &args.common, evaluate)
}

fn evaluate(args: Args) -> Result<()> {
    ft_kernels::memory::keep_freed_pages();
    let Args { common, mut task } = args;
    for model in task.models() {
        *model = common.model(model)?;
    }
    match task {
        Task::Loss(args) => loss::run(&args),
        Task::Generate(args) => match &args.prompt {
            Some(question) => question::run(&args, question),
            None => generate::run(&args),
        },
        Task::Chat(args) => chat::run(&args),
        Task::Choice(args) => choice::run(&args),
        Task::Compare(args) => compare::run(&args),
    }
}
