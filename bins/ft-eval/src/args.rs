//! What is typed.

mod chat;
mod choice;
mod compare;
mod generate;
mod loss;
mod model;
mod numbers;
mod sampling;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use chat::ChatArgs;
pub use choice::ChoiceArgs;
pub use compare::{BoundArgs, CompareArgs, Threshold, TwoModelsArgs};
pub use generate::GenerateArgs;
pub use loss::LossArgs;
pub use model::{HeldArgs, ModelArgs, inputs, source, target};
pub use sampling::SamplingArgs;

const EXAMPLES: &str = "\
Examples:
  ft-eval loss --model SmolLM2.gguf --adapter out test.parquet
  ft-template --model SmolLM2.gguf --mode test rows.parquet -o - |
      ft-eval generate --model SmolLM2.gguf --max-new-tokens 32 - -o answers.parquet
  ft-eval generate --model SmolLM2.gguf --adapter out --prompt 'What is VAT?'
  ft-eval chat --model SmolLM2.gguf --adapter out --system 'You are an accountant.'
  ft-eval choice --model merged mmlu/professional_accounting/test.arrow --report choice.json
  ft-eval compare base.parquet tuned.parquet --min-gain exact_match=0.05 --junit compare.xml
  ft-eval compare MODEL MODEL --adapter-b out --on test.parquet --forgetting-on general.parquet

Figures go to --report as JSON, or to standard output where that is a pipe; a table of them goes to
standard error.";

/// Measures a language model: the loss on tokens, answers to prompts, multiple choice; compares two.
#[derive(Debug, Parser)]
#[command(name = "ft-eval", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    pub task: Task,
    #[command(flatten)]
    pub common: ft_cli::Common,
}

#[derive(Debug, Subcommand)]
pub enum Task {
    /// Loss, perplexity and accuracy of the next token, on tokens that ft-template made
    ///
    /// The loss is one mean over all labels, in nats; perplexity is its exponential. Rows may be any
    /// Parquet with input_ids and labels.
    Loss(LossArgs),
    /// Answers to prompts, and how well they agree with the references
    ///
    /// Prompts are what 'ft-template --mode test' writes. Exact match and F1 are SQuAD's: both texts in
    /// lower case, without punctuation and the articles a, an, the; F1 over the words that they share. ROUGE-L is that of
    /// the package rouge-score without stemming, BLEU sacrebleu's with its defaults.
    /// An answer does not depend on the batch it is in, nor on the number of threads.
    Generate(GenerateArgs),
    /// A conversation: questions from standard input, line by line, answers to standard output as they come
    ///
    /// The model's chat template, or the adapter's, is put around what is said. /reset forgets it, /exit leaves, Ctrl-C ends
    /// an answer. Tokens are chosen as the model's generation_config.json says, unless told otherwise. Questions may come
    /// through a pipe, one a line.
    Chat(ChatArgs),
    /// Accuracy on multiple-choice questions, by the likelihood of each choice
    ///
    /// Questions have the columns question, choices (a list of texts), answer (a number from 0, a letter,
    /// or the choice's text, alike in all rows) and maybe subject, as MMLU has them; Arrow, Parquet, JSON lines or CSV.
    /// Each choice is tokenized together with its question, as lm-eval does. With --format mmlu, arc, hellaswag, piqa,
    /// boolq or commonsense-qa the rows have the columns of those data sets, and every question has the log-likelihoods,
    /// acc and acc_norm that lm-eval finds.
    Choice(ChoiceArgs),
    /// Two models on the same rows: which is better, whether that may be chance, and whether it is enough
    ///
    /// By default two files of rows are compared that 'ft-eval loss --per-example', 'generate' or 'choice' wrote with -o;
    /// with --on, two models are measured. For each metric: both means, the gain with its interval (a paired bootstrap
    /// over rows), the rows at which the second is better or worse, and the exact sign test over them. Files of other
    /// rows are refused.
    Compare(Box<CompareArgs>),
}

impl Task {
    /// The models that are measured: paths, or names on the hub.
    pub fn models(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Loss(args) => vec![&mut args.model.model],
            Self::Generate(args) => vec![&mut args.model.model],
            Self::Choice(args) => vec![&mut args.model.model],
            Self::Chat(args) => vec![&mut args.model],
            Self::Compare(args) if args.models.on.is_some() => vec![&mut args.a, &mut args.b],
            Self::Compare(_) => Vec::new(),
        }
    }
}
