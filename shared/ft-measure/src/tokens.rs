//! Labelled rows of tokens, held against the model before anything is computed.

use std::path::Path;

use ft_io::Source;
use ft_model::Architecture;
use ft_model::batch::Sequence;
use ft_text::origin::{self, Origin};

use crate::error::{Error, Result};
use crate::row_id::row_id;

/// The labelled rows of one input.
#[derive(Debug)]
pub struct LabelledRows {
    /// The input as the user named it.
    pub name: String,
    /// The rows in the input's order.
    pub sequences: Vec<Sequence>,
    /// SHA-256 of the whole input, 64 hexadecimal digits.
    pub sha256: String,
    /// The fingerprint of the tokenizer that made the tokens, where the file says it.
    tokenizer: Option<String>,
    /// The digest of the chat template that they were made with, where the file says it.
    pub template: Option<String>,
}

impl LabelledRows {
    /// Reads the first `limit` rows of `source`.
    ///
    /// # Errors
    /// As [`ft_table::read_tokens`].
    pub fn read(source: &Source, limit: Option<u32>) -> Result<Self> {
        let tokens = ft_table::read_tokens(source)?;
        let tokenizer = tokens.metadata.get(origin::TOKENIZER_KEY).cloned();
        let template = tokens.metadata.get(origin::TEMPLATE_DIGEST_KEY).cloned();
        let rows = tokens.rows.into_iter().take(limit.map_or(usize::MAX, |n| n as usize));
        let sequences = rows.map(|r| Sequence { input_ids: r.input_ids, labels: r.labels }).collect();
        Ok(Self { name: source.name(), sequences, sha256: tokens.sha256, tokenizer, template })
    }

    /// Refuses rows that the model at `model` cannot be measured on.
    ///
    /// # Errors
    /// [`Error::Text`] for tokens of another tokenizer; the first row that is too long or has a token outside the
    /// vocabulary; and rows without any label.
    pub fn check(&self, arch: &Architecture, model: &Path) -> Result<()> {
        check_tokenizer(&self.name, self.tokenizer.as_deref(), model)?;
        for (i, sequence) in self.sequences.iter().enumerate() {
            sequence.check(arch).map_err(|error| Error::from(error).at(self.place(i)))?;
        }
        let longest = self.sequences.iter().map(|sequence| sequence.input_ids.len()).max().unwrap_or(0);
        if let Some(told) = arch.beyond(longest) {
            tracing::warn!("{}: {told}", self.name);
        }
        if self.labels() == 0 {
            let told = "no row has a label (all are -100), so there is no loss; see 'ft-template --labels'";
            return Err(Error::content(&self.name, told));
        }
        Ok(())
    }

    /// Row `i`, counted from 0, as messages name it.
    pub(crate) fn place(&self, i: usize) -> String {
        format!("{}, row {}", self.name, i + 1)
    }

    /// Which row row `i` is, counted from 0: a digest of its tokens and labels.
    pub fn row_id(&self, i: usize) -> String {
        let Sequence { input_ids, labels } = &self.sequences[i];
        let ids: Vec<u8> = input_ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let labels: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        row_id([ids.as_slice(), &labels])
    }

    /// The number of tokens.
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(|s| s.input_ids.len()).sum()
    }

    /// The number of labels that have a loss.
    pub fn labels(&self) -> usize {
        self.sequences.iter().map(Sequence::labelled).sum()
    }
}

/// Refuses tokens of another tokenizer than that of the model at `model`; says so where that cannot be known. `name` is
/// the tokens' file, `made` the fingerprint that it gives.
///
/// # Errors
/// [`Error::Text`] if they differ or the model's tokenizer cannot be read.
pub fn check_tokenizer(name: &str, made: Option<&str>, model: &Path) -> Result<()> {
    let fingerprint = ft_text::fingerprint(model)
        .map_err(|error| Error::from(error).at(format!("cannot read the tokenizer of '{}'", model.display())))?;
    match origin::compare(name, made, model, fingerprint.as_deref())? {
        Origin::Same => {}
        Origin::Unsaid => {
            tracing::warn!("{name}: nothing says which tokenizer made these tokens; taking them as they are");
        }
        Origin::NoTokenizer => tracing::debug!("'{}' has no tokenizer to compare with", model.display()),
    }
    Ok(())
}
