//! `--bnb-4bit-…`: how `--load-in 4bit` holds a number.

use std::str::FromStr;

use clap::ArgAction;
use clap::builder::BoolishValueParser;

/// How `--load-in 4bit` holds a number, under bitsandbytes' names; flatten it into a program's arguments. `K` is what
/// the engine calls the sixteen values.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct FourBitArgs<K: Clone + Send + Sync + FromStr<Err = String> + 'static> {
    /// The sixteen values of --load-in 4bit: nf4 (at the quantiles of a normal distribution) or fp4 (of a float of four
    /// bits)
    #[arg(long, value_name = "TYPE", default_value = "nf4")]
    pub bnb_4bit_quant_type: K,
    /// Keep the scales of --load-in 4bit in 8 bits, as QLoRA does
    #[arg(long, alias = "use-bnb-nested-quant", value_name = "BOOL", num_args = 0..=1, default_value = "true",
        default_missing_value = "true", action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub bnb_4bit_use_double_quant: bool,
}
