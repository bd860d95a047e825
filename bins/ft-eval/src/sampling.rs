//! How the next token is chosen.

use candle_core::Tensor;
use candle_transformers::generation::{LogitsProcessor, Sampling};
use ft_cli::Usage;

use crate::args::GenerateArgs;

/// One stream of draws a row, so that no row's answer depends on another's.
pub struct Sampler {
    rows: Vec<LogitsProcessor>,
}

impl Sampler {
    /// For `rows` rows; row `i` draws with the seed `--seed + i`.
    pub fn new(args: &GenerateArgs, rows: usize) -> Result<Self, Usage> {
        let sampling = sampling(args)?;
        let stream = |row: u64| LogitsProcessor::from_sampling(args.seed.wrapping_add(row), sampling.clone());
        Ok(Self { rows: (0..rows as u64).map(stream).collect() })
    }

    /// The next token of row `row`, from logits `[vocabulary]`.
    pub fn choose(&mut self, row: usize, logits: &Tensor) -> ft_model::Result<u32> {
        Ok(self.rows[row].sample(logits)?)
    }
}

fn sampling(args: &GenerateArgs) -> Result<Sampling, Usage> {
    let temperature = args.temperature;
    if temperature == 0.0 {
        if args.top_k.is_some() || args.top_p.is_some() {
            return Err(Usage("--top-k and --top-p draw tokens: give --temperature above 0 with them".into()));
        }
        return Ok(Sampling::ArgMax);
    }
    Ok(match (args.top_k.map(|k| k as usize), args.top_p) {
        (None, None) => Sampling::All { temperature },
        (Some(k), None) => Sampling::TopK { k, temperature },
        (None, Some(p)) => Sampling::TopP { p, temperature },
        (Some(k), Some(p)) => Sampling::TopKThenTopP { k, p, temperature },
    })
}
