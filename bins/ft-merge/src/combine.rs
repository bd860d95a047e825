//! `--combine` and what goes with it.

use ft_model::lora::{Combination, Combine, Majority};

/// How several adapters become one.
#[derive(Debug, Clone, clap::Args)]
pub struct CombineArgs {
    /// Make one adapter of several, as peft's add_weighted_adapter does [default: the weighted sum of their products]
    #[arg(long, value_enum, value_name = "HOW")]
    pub combine: Option<How>,

    /// --combine ties, dare_ties or dare_linear: the share of each matrix's elements that stays
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    pub density: f64,

    /// --combine ties or dare_ties: what elects an element's sign
    #[arg(long, value_enum, value_name = "METHOD", default_value = "total")]
    pub majority_sign_method: Sign,

    /// --combine svd: the rank of the result [default: the largest of the adapters']
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    pub svd_rank: Option<u32>,

    /// --combine dare_ties or dare_linear: the seed of what is dropped
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
}

/// `--combine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum How {
    /// Sums of the A's and of the B's
    Linear,
    /// TIES on the A's and on the B's
    Ties,
    /// DARE on both, then sums
    DareLinear,
    /// DARE on both, then TIES
    DareTies,
    /// The best pair of a rank for the sum of the products
    Svd,
    /// The pairs one behind the other: the sum of the products
    Cat,
}

/// `--majority-sign-method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sign {
    Total,
    Frequency,
}

impl CombineArgs {
    /// How one adapter is made of several: by `otherwise` where nothing is said.
    pub fn by(&self, otherwise: Option<How>) -> Option<Combine> {
        let how = match self.combine.or(otherwise)? {
            How::Linear => Combination::Linear,
            How::Ties => Combination::Ties,
            How::DareLinear => Combination::DareLinear,
            How::DareTies => Combination::DareTies,
            How::Svd => Combination::Svd,
            How::Cat => Combination::Cat,
        };
        let majority = match self.majority_sign_method {
            Sign::Total => Majority::Total,
            Sign::Frequency => Majority::Frequency,
        };
        let (density, rank) = (self.density, self.svd_rank.map(|rank| rank as usize));
        Some(Combine { how, density, majority, rank, seed: self.seed })
    }
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if value > 0.0 && value <= 1.0 { Ok(value) } else { Err("expected a number above 0, and 1 at most".into()) }
}
