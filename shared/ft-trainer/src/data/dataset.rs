//! The rows to train and evaluate on, checked against the model before anything is computed.

use std::io::{Read, Write};
use std::path::Path;

use ft_dist::Communicator;
use ft_io::Source;
use ft_model::arch::Architecture;
use ft_model::batch::Sequence;
use ft_table::{SourceRow, Tokens};
use ft_text::Form;
use ft_text::origin::{self, Origin};

use crate::error::{Context, Error, Result};
use crate::options::{Overlong, RowOptions};
use crate::plan::sampler;

/// The longest row that is taken as it is, in tokens, and what happens to longer ones.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    tokens: usize,
    overlong: Overlong,
}

impl Limit {
    /// `--max-seq-length` and `--overlong`; none where every length is taken.
    pub fn of(options: &RowOptions) -> Option<Self> {
        let tokens = options.max_seq_length.map(|tokens| tokens as usize).or_else(|| sampler::bin_length(options))?;
        Some(Self { tokens, overlong: options.overlong })
    }
}

/// The rows of one input.
pub struct Dataset {
    pub name: String,
    pub sequences: Vec<Sequence>,
    /// The number of each sequence's row in the file, from 1.
    rows: Vec<usize>,
    /// What each was made of; nothing where the file does not tell.
    sources: Vec<SourceRow>,
    pub sha256: String,
    /// The tokenizer that made the tokens, where the file says it.
    pub tokenizer: Option<String>,
    /// How a prompt must look for what is learned here, as the file says it.
    pub form: Form,
}

impl Dataset {
    /// Reads `path` (`-` is a pipe), does with rows that are too long what was asked, and holds every row against the
    /// model. What comes through a pipe comes to the first rank, which hands it on.
    ///
    /// # Errors
    /// If the file cannot be read, holds no tokens, or a row does not fit the model; names the row.
    pub fn read(path: &Path, arch: &Architecture, limit: Option<Limit>, ranks: &dyn Communicator) -> Result<Self> {
        let source = Source::parse(path);
        let tokens = match source {
            Source::Stdin if ranks.world() > 1 => handed_on(&source, ranks)?,
            _ => ft_table::read_tokens(&source)?,
        };
        let tokenizer = tokens.metadata.get(origin::TOKENIZER_KEY).cloned();
        let rows = tokens.rows.iter().map(|row| row.number).collect();
        let is_told = tokens.rows.iter().any(|row| row.source.is_known());
        let sources = tokens.rows.iter().filter(|_| is_told).map(|row| row.source.clone()).collect();
        let sequences: Vec<Sequence> =
            tokens.rows.into_iter().map(|r| Sequence { input_ids: r.input_ids, labels: r.labels }).collect();
        let form = Form::of(&tokens.metadata);
        let (name, sha256) = (source.file_name(), tokens.sha256);
        let mut data = Self { name, sequences, rows, sources, sha256, tokenizer, form };
        if let Some(limit) = limit {
            data.fit(limit)?;
        }
        data.check(arch)?;
        data.leave_out_unlabelled()?;
        Ok(data)
    }

    /// Rows that are in memory already.
    pub fn of(name: &str, sequences: Vec<Sequence>) -> Self {
        let (rows, sources) = ((1..=sequences.len()).collect(), Vec::new());
        let (sha256, form) = (String::new(), Form::default());
        Self { name: name.into(), sequences, rows, sources, sha256, tokenizer: None, form }
    }

    /// The number of a sequence's row in the file, from 1.
    pub fn row(&self, sequence: usize) -> usize {
        self.rows[sequence]
    }

    /// The file and row that a sequence was made of, where that is known.
    pub fn source(&self, sequence: usize) -> Option<&SourceRow> {
        self.sources.get(sequence).filter(|source| source.is_known())
    }

    /// A sequence's row for people: `row 7`, or with what it was made of `row 7 (chats.csv, row 12)`.
    pub fn place(&self, sequence: usize) -> String {
        let row = self.rows[sequence];
        self.source(sequence).map_or_else(|| format!("row {row}"), |source| format!("row {row} ({source})"))
    }

    /// The number of every sequence's row in the file: equal ones were packed into one row.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Tokens of each sequence.
    pub fn lengths(&self) -> Vec<usize> {
        self.sequences.iter().map(|s| s.input_ids.len()).collect()
    }

    /// Does with rows of more than `limit` what was asked, and says how many they were.
    fn fit(&mut self, limit: Limit) -> Result<()> {
        let over = |s: &Sequence| s.input_ids.len() > limit.tokens;
        let all = self.sequences.len();
        let (mut count, mut lost) = (0, 0);
        for s in self.sequences.iter().filter(|s| over(s)) {
            count += 1;
            lost += s.input_ids.len() - if limit.overlong == Overlong::Truncate { limit.tokens } else { 0 };
        }
        let Some(first) = self.sequences.iter().position(over) else { return Ok(()) };
        let what = match limit.overlong {
            Overlong::Error => {
                return Err(Error::Rows(format!(
                    "{}, {}: {} tokens, and --max-seq-length is {} ({count} of {all} rows are longer); give --overlong \
                 drop or truncate",
                    self.name,
                    self.place(first),
                    self.sequences[first].input_ids.len(),
                    limit.tokens
                )));
            }
            Overlong::Drop => {
                let fits: Vec<bool> = self.sequences.iter().map(|s| !over(s)).collect();
                self.keep(|i| fits[i]);
                "left out"
            }
            Overlong::Truncate => {
                for s in &mut self.sequences {
                    s.input_ids.truncate(limit.tokens);
                    s.labels.truncate(limit.tokens);
                }
                "cut off"
            }
        };
        tracing::warn!(
            "{}: {count} of {all} rows have more than {} tokens and were {what}; {lost} tokens are lost",
            self.name,
            limit.tokens
        );
        if self.sequences.is_empty() {
            return Err(Error::Rows(format!(
                "{}: no row has at most {} tokens; raise --max-seq-length",
                self.name, limit.tokens
            )));
        }
        Ok(())
    }

    fn check(&self, arch: &Architecture) -> Result<()> {
        for (i, sequence) in self.sequences.iter().enumerate() {
            sequence.check(arch).with_context(|| format!("{}, {}", self.name, self.place(i)))?;
        }
        let longest = self.sequences.iter().map(|sequence| sequence.input_ids.len()).max().unwrap_or(0);
        if let Some(told) = arch.beyond(longest) {
            tracing::warn!("{}: {told}", self.name);
        }
        Ok(())
    }

    /// Leaves out what teaches nothing: a step of such rows alone would have no loss.
    fn leave_out_unlabelled(&mut self) -> Result<()> {
        let all = self.sequences.len();
        let teaches: Vec<bool> = self.sequences.iter().map(|s| s.labelled() > 0).collect();
        let Some(first) = teaches.iter().position(|teaches| !teaches).map(|i| self.place(i)) else { return Ok(()) };
        self.keep(|i| teaches[i]);
        if self.sequences.is_empty() {
            return Err(Error::Rows(format!(
                "{}: no row has a label (all are -100), so there is nothing to learn; see 'ft-template --labels'",
                self.name
            )));
        }
        tracing::warn!(
            "{}: {} of {all} rows have no label ({first} is the first) and are left out",
            self.name,
            all - self.sequences.len()
        );
        Ok(())
    }

    /// Keeps the sequences at these places.
    fn keep(&mut self, keeps: impl Fn(usize) -> bool) {
        let kept = |i: &usize| keeps(*i);
        self.rows = (0..self.rows.len()).filter(kept).map(|i| self.rows[i]).collect();
        self.sources = (0..self.sources.len()).filter(kept).map(|i| self.sources[i].clone()).collect();
        let all = std::mem::take(&mut self.sequences).into_iter().enumerate();
        self.sequences = all.filter(|(i, _)| kept(i)).map(|(_, sequence)| sequence).collect();
    }

    /// Refuses tokens of another tokenizer than the model's; warns where one of the two is not known.
    ///
    /// # Errors
    /// If the two tokenizers differ.
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

/// The tokens of a pipe that only the first rank has.
fn handed_on(source: &Source, ranks: &dyn Communicator) -> Result<Tokens> {
    let mut bytes = Vec::new();
    if ranks.rank() == 0 {
        source.open()?.read_to_end(&mut bytes).with_context(|| format!("cannot read {source}"))?;
    }
    let mut length = [bytes.len() as u64];
    ft_dist::broadcast(ranks, 0, &mut length)?;
    let too_many = |_| Error::Rows(format!("{source}: {} bytes are more than this rank can hold", length[0]));
    bytes.resize(usize::try_from(length[0]).map_err(too_many)?, 0);
    ft_dist::broadcast(ranks, 0, &mut bytes)?;
    let mut file = tempfile::NamedTempFile::new().with_context(|| "cannot make a temporary file")?;
    file.write_all(&bytes).with_context(|| format!("cannot write '{}'", file.path().display()))?;
    Ok(ft_table::read_tokens(&Source::parse(file.path()))?)
}

/// The fingerprint of the model's tokenizer, where the model has one.
///
/// # Errors
/// If the tokenizer is there and cannot be read.
pub fn model_tokenizer(model: &Path) -> Result<Option<String>> {
    ft_text::fingerprint(model).with_context(|| format!("cannot read the tokenizer of '{}'", model.display()))
}
