//! The rows to train and evaluate on, checked against the model before anything is computed.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ft_cli::Source;
use ft_model::arch::Architecture;
use ft_model::batch::Sequence;

/// Which tokenizer made a file of tokens; ft-template writes it.
const TOKENIZER_KEY: &str = "ft.tokenizer_sha256";

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
        let tokenizer = tokens.metadata.get(TOKENIZER_KEY).cloned();
        let sequences =
            tokens.rows.into_iter().map(|r| Sequence { input_ids: r.input_ids, labels: r.labels }).collect();
        let data = Self { name: source.file_name(), sequences, sha256: tokens.sha256, tokenizer };
        data.check(arch)?;
        Ok(data)
    }

    fn check(&self, arch: &Architecture) -> Result<()> {
        let mut without_label = 0;
        for (i, sequence) in self.sequences.iter().enumerate() {
            let row = i + 1;
            let place = || format!("{}, row {row}", self.name);
            let limit = arch.max_position_embeddings;
            if sequence.input_ids.len() > limit {
                let length = sequence.input_ids.len();
                bail!(
                    "{}: {length} tokens, but the model takes {limit}; make the rows with 'ft-template --max-seq-length {limit}'",
                    place()
                );
            }
            let labels = sequence.labels.iter().filter_map(|&l| u32::try_from(l).ok());
            if let Some(id) =
                sequence.input_ids.iter().copied().chain(labels).find(|&id| id as usize >= arch.vocab_size)
            {
                bail!(
                    "{}: token {id}, but the model's vocabulary has {}; were the rows made with another tokenizer?",
                    place(),
                    arch.vocab_size
                );
            }
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
        match (self.tokenizer.as_deref(), fingerprint) {
            (Some(made), Some(model_s)) if made != model_s => bail!(
                "{}: its tokens were made with another tokenizer ({}…) than that of '{}' ({}…); make them again with 'ft-template --model {}'",
                self.name,
                &made[..made.len().min(12)],
                model.display(),
                &model_s[..model_s.len().min(12)],
                model.display()
            ),
            (None, _) => {
                tracing::warn!(
                    "{}: nothing says which tokenizer made these tokens; taking them as they are",
                    self.name
                );
            }
            (Some(_), None) => tracing::debug!("'{}' has no tokenizer to compare with", model.display()),
            (Some(_), Some(_)) => {}
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
