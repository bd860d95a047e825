//! Answers as rows of a Parquet file, written as they come.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, ListBuilder, RecordBatch, StringArray, UInt32Array, UInt32Builder,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field};
use ft_io::{Source, Target};
use ft_measure::{Prediction, Prompts};
use ft_table::ParquetWriter;
use ft_text::Tokenizer;

use crate::row_file::{end, provenance};

/// Rows of a row group; they are cut by number, so that the file does not depend on how many answers are made at a time.
const GROUP: usize = 1024;

/// The file of `ft-eval generate -o`: rows in the order of their prompts.
pub struct AnswerFile<'a> {
    target: Target,
    writer: ParquetWriter,
    prompts: &'a Prompts,
    tokenizer: &'a Tokenizer,
    /// The first prompt whose row is not written.
    next: usize,
}

impl<'a> AnswerFile<'a> {
    /// Opens `target`; it has its name once the file is finished.
    pub fn create(target: Target, prompts: &'a Prompts, tokenizer: &'a Tokenizer, source: &Source) -> Result<Self> {
        let schema = rows(&[], prompts, tokenizer)?.schema();
        let writer = ParquetWriter::create(&target, schema, &provenance(source, &prompts.sha256))?;
        Ok(Self { target, writer, prompts, tokenizer, next: 0 })
    }

    /// Its name, for messages.
    pub fn name(&self) -> String {
        self.target.name()
    }

    /// Writes the next groups of rows, as far as all of their answers are `done`.
    pub fn write_ready(&mut self, done: &[Option<Prediction>]) -> Result<()> {
        while let Some(group) = done.get(self.next..self.next + GROUP)
            && group.iter().all(Option::is_some)
        {
            self.write(group)?;
            self.next += GROUP;
        }
        Ok(())
    }

    /// Writes the rest of what is `done`, and says in the file's metadata where that is not all.
    pub fn finish(mut self, done: &[Option<Prediction>]) -> Result<()> {
        self.write(&done[self.next..])?;
        let count = done.iter().flatten().count();
        end(self.writer, count, done.len())
    }

    fn write(&mut self, some: &[Option<Prediction>]) -> Result<()> {
        let some: Vec<&Prediction> = some.iter().flatten().collect();
        self.writer.write(&rows(&some, self.prompts, self.tokenizer)?)?;
        Ok(self.writer.end_group()?)
    }
}

/// A row an answer: `row` is its prompt's, counted from 1, and `sample` its number where a prompt has several.
fn rows(some: &[&Prediction], prompts: &Prompts, tokenizer: &Tokenizer) -> Result<RecordBatch> {
    let prompt = |answer: &&Prediction| match &prompts.texts[answer.prompt] {
        Some(text) => Ok(text.clone()),
        None => decode(tokenizer, &prompts.ids[answer.prompt]),
    };
    let texts: Vec<String> = some.iter().map(prompt).collect::<Result<_>>()?;
    let item = Field::new_list_field(DataType::UInt32, false);
    let mut ids = ListBuilder::new(UInt32Builder::new()).with_field(item);
    for answer in some {
        ids.values().append_slice(&answer.tokens);
        ids.append(true);
    }
    let all = || some.iter();
    let references = all().map(|a| prompts.references[a.prompt].as_deref());
    let row_ids = all().map(|a| prompts.row_id(a.prompt));
    let samples = prompts.samples();
    let sample = all().map(|a| (a.prompt % samples) as u32 + 1);
    let columns: [(&str, ArrayRef, bool); 12] = [
        ("row", Arc::new(UInt64Array::from_iter_values(all().map(|a| (a.prompt / samples) as u64 + 1))), false),
        ("sample", Arc::new(UInt32Array::from_iter_values(sample)), false),
        ("prompt", Arc::new(StringArray::from_iter_values(texts)), false),
        ("prediction", Arc::new(StringArray::from_iter_values(all().map(|a| &a.text))), false),
        ("reference", Arc::new(references.collect::<StringArray>()), true),
        ("exact_match", Arc::new(all().map(|a| a.score.map(|s| s.exact_match)).collect::<BooleanArray>()), true),
        ("f1", Arc::new(all().map(|a| a.score.map(|s| s.f1)).collect::<Float64Array>()), true),
        ("rouge_l", Arc::new(all().map(|a| a.score.map(|s| s.rouge_l)).collect::<Float64Array>()), true),
        ("tokens", Arc::new(UInt32Array::from_iter_values(all().map(|a| a.tokens.len() as u32))), false),
        ("ended", Arc::new(all().map(|a| Some(a.ended)).collect::<BooleanArray>()), false),
        ("output_ids", Arc::new(ids.finish()), false),
        ("row_id", Arc::new(StringArray::from_iter_values(row_ids)), false),
    ];
    let kept = columns.into_iter().filter(|(name, ..)| *name != "sample" || samples > 1);
    Ok(RecordBatch::try_from_iter_with_nullable(kept)?)
}

fn decode(tokenizer: &Tokenizer, ids: &[u32]) -> Result<String> {
    Ok(ft_text::decode(tokenizer, ids, false)?)
}
