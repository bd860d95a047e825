//! Arguments of `ft-eval chat`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::model::HeldArgs;
use super::sampling::SamplingArgs;

#[derive(Debug, clap::Args)]
pub struct ChatArgs {
    /// Model to talk to: a Hugging Face folder, a GGUF file, or a name on the hub (org/name, org/name@revision, org/name:Q8_0)
    #[arg(long, value_name = "DIR|GGUF|NAME")]
    pub model: PathBuf,
    /// LoRA adapter to apply to it: a PEFT folder or one safetensors file
    #[arg(long, value_name = "DIR|FILE")]
    pub adapter: Option<OsString>,
    /// System message [default: what the adapter was trained with]
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Maximum number of new tokens of an answer [default: what generation_config.json says, or else as many as the
    /// model's context takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: Option<u32>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub held: HeldArgs,
}
