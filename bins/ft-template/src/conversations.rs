//! Conversations out of the `messages` column of a batch.

use anyhow::{Context, Result, bail};
use arrow::array::{
    Array, ArrayRef, AsArray, GenericListArray, OffsetSizeTrait, RecordBatch, StringArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use ft_table::schema::{MESSAGES, REFERENCE};
use ft_text::Message;

/// The conversations of one batch.
pub struct Conversations {
    /// Row `i` has the messages `ends[i]..ends[i + 1]`.
    ends: Vec<usize>,
    nulls: Option<ArrayRef>,
    items: StructArray,
    roles: StringArray,
    contents: StringArray,
    references: Option<StringArray>,
}

/// Fails unless `schema` has `messages` of the right type.
pub fn check(name: &str, schema: &Schema) -> Result<()> {
    let advice = "run ft-prep first, which makes it of every common form of data";
    let Ok(field) = schema.field_with_name(MESSAGES) else {
        let present: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        bail!("{name}: no column '{MESSAGES}' (there are: {}); {advice}", present.join(", "));
    };
    if message_fields(field).is_none() {
        bail!(
            "{name}: column '{MESSAGES}' is {}, expected a list of role and content; {advice}",
            describe(field.data_type())
        );
    }
    Ok(())
}

/// The positions of `role` and `content` if the column is a list of messages.
fn message_fields(field: &Field) -> Option<(usize, usize)> {
    let (DataType::List(item) | DataType::LargeList(item)) = field.data_type() else {
        return None;
    };
    let DataType::Struct(fields) = item.data_type() else {
        return None;
    };
    let text = |name: &str| {
        let (at, field) = fields.find(name)?;
        is_text(field.data_type()).then_some(at)
    };
    Some((text("role")?, text("content")?))
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

fn describe(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::List(item) | DataType::LargeList(item) => match item.data_type() {
            DataType::Struct(fields) => {
                let names: Vec<_> = fields.iter().map(|f| format!("{}: {}", f.name(), f.data_type())).collect();
                format!("a list of {{{}}}", names.join(", "))
            }
            other => format!("a list of {other}"),
        },
        other => other.to_string(),
    }
}

impl Conversations {
    /// Takes the columns of `batch`, which [`check`] has passed.
    pub fn new(batch: &RecordBatch) -> Result<Self> {
        let column = batch.column_by_name(MESSAGES).context("a batch lost its messages")?;
        let schema = batch.schema();
        let (role, content) = message_fields(schema.field_with_name(MESSAGES)?).context("messages changed type")?;
        let (ends, items) = match column.data_type() {
            DataType::LargeList(_) => parts(column.as_list::<i64>()),
            _ => parts(column.as_list::<i32>()),
        };
        let references =
            batch.column_by_name(REFERENCE).filter(|column| is_text(column.data_type())).map(text).transpose()?;
        Ok(Self {
            ends,
            nulls: (column.null_count() > 0).then(|| column.clone()),
            roles: text(items.column(role))?,
            contents: text(items.column(content))?,
            items,
            references,
        })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.ends.len().saturating_sub(1)
    }

    /// The messages of row `row`, or what is wrong with them.
    pub fn messages(&self, row: usize) -> Result<Vec<Message>, String> {
        let (start, end) = (self.ends[row], self.ends[row + 1]);
        let is_null = self.nulls.as_ref().is_some_and(|column| column.is_null(row));
        if is_null || start == end {
            return Err("the conversation has no messages".into());
        }
        (start..end)
            .map(|i| {
                if self.items.is_null(i) {
                    return Err(format!("message {} is null", i - start));
                }
                for (array, name) in [(&self.roles, "role"), (&self.contents, "content")] {
                    if array.is_null(i) {
                        return Err(format!("message {}: {name} is null, expected text", i - start));
                    }
                }
                Ok(Message::new(self.roles.value(i), self.contents.value(i)))
            })
            .collect()
    }

    /// What the input gives as the row's `reference`.
    pub fn reference(&self, row: usize) -> Option<&str> {
        let references = self.references.as_ref()?;
        references.is_valid(row).then(|| references.value(row))
    }
}

/// Where the rows of a list column end, and its items.
fn parts<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> (Vec<usize>, StructArray) {
    (list.offsets().iter().map(|end| end.as_usize()).collect(), list.values().as_struct().clone())
}

/// A text column of whatever kind as plain text.
fn text(column: &ArrayRef) -> Result<StringArray> {
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}
