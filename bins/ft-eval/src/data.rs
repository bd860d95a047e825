//! Labelled rows of tokens, held against the model before anything is computed.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ft_io::Source;
use ft_model::Architecture;
use ft_model::batch::Sequence;
use ft_text::origin::{self, Origin};

/// The rows of one input.
pub struct Dataset {
    pub name: String,
    pub sequences: Vec<Sequence>,
    pub sha256: String,
    /// The tokenizer that made the tokens, where the file says it.
    tokenizer: Option<String>,
}

impl Dataset {
    /// Reads the first `limit` rows of `source`.
    pub fn read(source: &Source, limit: Option<u32>) -> Result<Self> {
        let tokens = ft_table::read_tokens(source)?;
        let tokenizer = tokens.metadata.get(origin::TOKENIZER_KEY).cloned();
        let rows = tokens.rows.into_iter().take(limit.map_or(usize::MAX, |n| n as usize));
        let sequences = rows.map(|r| Sequence { input_ids: r.input_ids, labels: r.labels }).collect();
        Ok(Self { name: source.name(), sequences, sha256: tokens.sha256, tokenizer })
    }

    /// Refuses rows that the model cannot be measured on.
    pub fn check(&self, arch: &Architecture, model: &Path) -> Result<()> {
        check_origin(&self.name, self.tokenizer.as_deref(), model)?;
        for (i, sequence) in self.sequences.iter().enumerate() {
            sequence.check(arch).with_context(|| format!("{}, row {}", self.name, i + 1))?;
        }
        let longest = self.sequences.iter().map(|sequence| sequence.input_ids.len()).max().unwrap_or(0);
        if let Some(told) = arch.beyond(longest) {
            tracing::warn!("{}: {told}", self.name);
        }
        if self.labels() == 0 {
            bail!("{}: no row has a label (all are -100), so there is no loss; see 'ft-template --labels'", self.name);
        }
        Ok(())
    }

    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(|s| s.input_ids.len()).sum()
    }

    pub fn labels(&self) -> usize {
        self.sequences.iter().map(Sequence::labelled).sum()
    }
}

/// Refuses tokens of another tokenizer than the model's; says so where that cannot be known.
pub fn check_origin(name: &str, made: Option<&str>, model: &Path) -> Result<()> {
    let fingerprint =
        ft_text::fingerprint(model).with_context(|| format!("cannot read the tokenizer of '{}'", model.display()))?;
    match origin::compare(name, made, model, fingerprint.as_deref())? {
        Origin::Same => {}
        Origin::Unsaid => {
            tracing::warn!("{name}: nothing says which tokenizer made these tokens; taking them as they are");
        }
        Origin::NoTokenizer => tracing::debug!("'{}' has no tokenizer to compare with", model.display()),
    }
    Ok(())
}
