//! Prompts to answer, as `ft-template --mode test` writes them.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use ft_io::{IGNORE_INDEX, Source};
use ft_table::read_parquet;
use ft_table::schema::{INPUT_IDS, LABELS, REFERENCE, TEXT};
use ft_text::origin::{TEMPLATE_DIGEST_KEY, TOKENIZER_KEY};

use crate::error::{Error, Result};
use crate::row_id::row_id;

/// All prompts of one input, column by column.
#[derive(Debug, Default)]
pub struct Prompts {
    /// The input as the user named it.
    pub name: String,
    /// SHA-256 of the whole input, 64 hexadecimal digits.
    pub sha256: String,
    /// The fingerprint of the tokenizer that made the tokens, where the file says it.
    pub tokenizer: Option<String>,
    /// The digest of the chat template that they were made with, where the file says it.
    pub template: Option<String>,
    /// The tokens of each prompt.
    pub ids: Vec<Vec<u32>>,
    /// The text that they were made of.
    pub texts: Vec<Option<String>>,
    /// The answer that is wanted.
    pub references: Vec<Option<String>>,
    /// How often each prompt stands there, on end: 0 and 1 are once.
    samples: usize,
    /// The row of the input, counted from 0, that the first one is.
    first: usize,
}

impl Prompts {
    /// Reads the first `limit` prompts of `source`. Needed is `input_ids`; `text` and `reference` are taken
    /// where they are.
    ///
    /// # Errors
    /// If it is no Parquet, lacks `input_ids`, holds no rows, or has labels; and at the first row that is not what it
    /// should be.
    pub fn read(source: &Source, limit: Option<u32>) -> Result<Self> {
        let table = read_parquet(source)?;
        table.require(&[INPUT_IDS])?;
        let mut prompts = Self {
            name: table.name().to_owned(),
            sha256: table.sha256().to_owned(),
            tokenizer: table.metadata().get(TOKENIZER_KEY).cloned(),
            template: table.metadata().get(TEMPLATE_DIGEST_KEY).cloned(),
            ..Self::default()
        };
        let columns: Vec<&str> = [INPUT_IDS, LABELS, TEXT, REFERENCE]
            .into_iter()
            .filter(|column| table.schema().index_of(column).is_ok())
            .collect();
        let limit = limit.map_or(usize::MAX, |n| n as usize);
        for batch in table.batches(Some(&columns))? {
            let batch = batch?;
            prompts.add(&batch.slice(0, batch.num_rows().min(limit - prompts.ids.len())))?;
            if prompts.ids.len() == limit {
                break;
            }
        }
        if prompts.ids.is_empty() {
            return Err(Error::content(prompts.name, "holds no rows"));
        }
        Ok(prompts)
    }

    /// One question, which stands in no file; `text` is what its tokens were made of.
    pub fn of_question(text: String, ids: Vec<u32>) -> Self {
        let name = "the question".to_owned();
        Self { name, ids: vec![ids], texts: vec![Some(text)], references: vec![None], ..Self::default() }
    }

    /// The same prompts, each `samples` times on end.
    #[must_use]
    pub fn repeated(self, samples: usize) -> Self {
        fn each<T: Clone>(all: &[T], samples: usize) -> Vec<T> {
            all.iter().flat_map(|one| std::iter::repeat_n(one, samples).cloned()).collect()
        }
        let samples = samples.max(1);
        Self {
            ids: each(&self.ids, samples),
            texts: each(&self.texts, samples),
            references: each(&self.references, samples),
            samples: samples * self.samples(),
            ..self
        }
    }

    /// Some of the prompts.
    #[must_use]
    pub(crate) fn part(&self, which: Range<usize>) -> Self {
        let of = |all: &[Option<String>]| all[which.clone()].to_vec();
        Self {
            name: self.name.clone(),
            ids: self.ids[which.clone()].to_vec(),
            texts: of(&self.texts),
            references: of(&self.references),
            samples: self.samples,
            first: self.first + which.start / self.samples(),
            ..Self::default()
        }
    }

    /// How often each prompt stands there.
    pub fn samples(&self) -> usize {
        self.samples.max(1)
    }

    /// Row `i`, counted from 0, as messages name it.
    pub(crate) fn place(&self, i: usize) -> String {
        format!("{}, row {}", self.name, self.number(i))
    }

    /// The number in the input, from 1, of row `i`, counted from 0.
    pub(crate) fn number(&self, i: usize) -> usize {
        self.first + i / self.samples() + 1
    }

    /// Which row row `i` is, counted from 0: a digest of its tokens and its reference.
    pub fn row_id(&self, i: usize) -> String {
        let ids: Vec<u8> = self.ids[i].iter().flat_map(|id| id.to_le_bytes()).collect();
        let reference = self.references[i].as_ref().map(String::as_bytes);
        row_id([ids.as_slice()].into_iter().chain(reference))
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let before = self.ids.len();
        let column = |name: &str| batch.column_by_name(name);
        let place = |i: usize| self.place(before + i);
        let Some(ids) = column(INPUT_IDS) else {
            return Err(Error::content(&self.name, format!("lost its column '{INPUT_IDS}'")));
        };
        let mut read = Vec::with_capacity(batch.num_rows());
        for (i, row) in lists(&self.name, INPUT_IDS, ids)?.into_iter().enumerate() {
            let null = || Error::content(place(i), format!("'{INPUT_IDS}' is null, or holds a null"));
            let id = |id: i64| u32::try_from(id).map_err(|_| Error::content(place(i), format!("{id} is no token id")));
            read.push(row.ok_or_else(null)?.into_iter().map(id).collect::<Result<_>>()?);
        }
        if let Some(labels) = column(LABELS) {
            let labels = lists(&self.name, LABELS, labels)?;
            let labelled = |row: &Option<Vec<i64>>| row.iter().flatten().any(|&l| l != i64::from(IGNORE_INDEX));
            if let Some(i) = labels.iter().position(labelled) {
                let told = "it has labels, so it is made to learn from and holds the answer; make prompts with \
                            'ft-template --mode test'";
                return Err(Error::content(place(i), told));
            }
        }
        self.ids.extend(read);
        self.texts.extend(texts(&self.name, TEXT, column(TEXT), batch.num_rows())?);
        self.references.extend(texts(&self.name, REFERENCE, column(REFERENCE), batch.num_rows())?);
        Ok(())
    }
}

/// The rows of a column of lists of any integers; none for a row that is null or holds a null.
fn lists(name: &str, column: &str, array: &ArrayRef) -> Result<Vec<Option<Vec<i64>>>> {
    let wide = DataType::LargeList(Field::new_list_field(DataType::Int64, true).into());
    let integers = match array.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_integer()
        }
        _ => false,
    };
    if !integers {
        let told = format!("column '{column}' is {}, expected lists of integers", array.data_type());
        return Err(Error::content(name, told));
    }
    let array = cast(array, &wide).map_err(|error| Error::content(name, format!("column '{column}': {error}")))?;
    let row = |row: Option<ArrayRef>| {
        let values = row?;
        let values = values.as_primitive::<Int64Type>();
        (values.null_count() == 0).then(|| values.values().to_vec())
    };
    Ok(array.as_list::<i64>().iter().map(row).collect())
}

/// The rows of a column of texts; none where there is no such column.
fn texts(name: &str, column: &str, array: Option<&ArrayRef>, rows: usize) -> Result<Vec<Option<String>>> {
    let Some(array) = array else { return Ok(vec![None; rows]) };
    let text = match array.data_type() {
        DataType::Null => return Ok(vec![None; rows]),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
            cast(array, &DataType::Utf8).map_err(|error| Error::content(name, format!("column '{column}': {error}")))?
        }
        other => return Err(Error::content(name, format!("column '{column}' is {other}, expected text"))),
    };
    Ok(text.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
}
