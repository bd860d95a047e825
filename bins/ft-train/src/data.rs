//! The rows to train and evaluate on, checked against the model before anything is computed.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ft_cli::Source;
use ft_model::arch::Architecture;
use ft_model::batch::Sequence;
use ft_text::origin::{self, Origin};

/// The rows of one input.
pub struct Dataset {
    pub name: String,
    pub sequences: Vec<Sequence>,
    pub sha256: String,
    /// The tokenizer that made the tokens, where the file says it.
    pub tokenizer: Option<String>,
}

impl Dataset {
    /// Reads `path` (`-` is a pipe) and holds every row against the model.
    pub fn read(path: &Path, arch: &Architecture) -> Result<Self> {
        let source = Source::parse(path);
        let tokens = ft_table::read_tokens(&source)?;
        let tokenizer = tokens.metadata.get(origin::TOKENIZER_KEY).cloned();
        let sequences =
            tokens.rows.into_iter().map(|r| Sequence { input_ids: r.input_ids, labels: r.labels }).collect();
        let data = Self { name: source.file_name(), sequences, sha256: tokens.sha256, tokenizer };
        data.check(arch)?;
        Ok(data)
    }

    fn check(&self, arch: &Architecture) -> Result<()> {
        let mut without_label = 0;
        for (i, sequence) in self.sequences.iter().enumerate() {
            sequence.check(arch).with_context(|| format!("{}, row {}", self.name, i + 1))?;
            without_label += usize::from(sequence.labelled() == 0);
        }
        if without_label == self.sequences.len() {
            bail!(
                "{}: no row has a label (all are -100), so there is nothing to learn; see 'ft-template --labels'",
                self.name
            );
        }
        if without_label > 0 {
            tracing::warn!(
                "{}: {without_label} of {} rows have no label and teach nothing",
                self.name,
                self.sequences.len()
            );
        }
        Ok(())
    }

    /// Refuses tokens of another tokenizer than the model's; warns where one of the two is not known.
    pub fn check_tokenizer(&self, model: &Path, fingerprint: Option<&str>) -> Result<()> {
        match origin::compare(&self.name, self.tokenizer.as_deref(), model, fingerprint)? {
            Origin::Same => {}
            Origin::Unsaid => {
                tracing::warn!(
                    "{}: nothing says which tokenizer made these tokens; taking them as they are",
                    self.name
                );
            }
            Origin::NoTokenizer => tracing::debug!("'{}' has no tokenizer to compare with", model.display()),
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

/// The fingerprint of the model's tokenizer, where the model has one.
pub fn model_tokenizer(model: &Path) -> Result<Option<String>> {
    ft_text::fingerprint(model).with_context(|| format!("cannot read the tokenizer of '{}'", model.display()))
}
