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

use args::{Args, Task};

fn main() -> ExitCode {
    ft_cli::run("ft-eval", |args: &Args| &args.common, evaluate)
}

fn evaluate(args: Args) -> Result<()> {
    ft_kernels::memory::keep_freed_pages();
    match args.task {
        Task::Loss(args) => loss::run(&args),
        Task::Generate(args) => generate::run(&args),
        Task::Chat(args) => chat::run(&args),
        Task::Choice(args) => choice::run(&args),
        Task::Compare(args) => compare::run(&args),
    }
}
