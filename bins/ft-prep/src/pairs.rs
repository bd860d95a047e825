//! Question and answer as plain columns of text: the common case without a detour through JSON.

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::DataType;
use ft_table::shapes::Shape;
use ft_table::{Data, Rows};

/// The columns.
pub struct TextPairs<'a> {
    system: Option<&'a StringArray>,
    input: &'a StringArray,
    output: &'a StringArray,
}

impl<'a> TextPairs<'a> {
    /// The columns of `rows`, if the shape reads a question, an answer and perhaps a system message, and they are texts.
    pub fn new(shape: &Shape, rows: &'a Rows) -> Option<Self> {
        let Data::Columns(batch) = rows.data() else {
            return None;
        };
        let has = |column: &str| batch.column_by_name(column).is_some();
        if !shape.is_pair(has) {
            return None;
        }
        let text = |column: &str| {
            let array = batch.column_by_name(column)?;
            (array.data_type() == &DataType::Utf8).then(|| array.as_string::<i32>())
        };
        Some(Self {
            system: match shape.system.as_deref().filter(|column| has(column)) {
                Some(column) => Some(text(column)?),
                None => None,
            },
            input: text(shape.input.as_ref()?)?,
            output: text(shape.output.as_ref()?)?,
        })
    }

    /// Bytes of text, about.
    pub fn bytes(&self) -> usize {
        [self.system, Some(self.input), Some(self.output)]
            .into_iter()
            .flatten()
            .map(StringArray::get_buffer_memory_size)
            .sum()
    }

    /// System, question and answer; null as the empty text. None where one of them may be a list of messages in JSON.
    pub fn row(&self, row: usize) -> Option<(&'a str, &'a str, &'a str)> {
        let text = |array: &'a StringArray| if array.is_null(row) { "" } else { array.value(row) };
        let (input, output) = (text(self.input), text(self.output));
        let is_plain = |text: &str| !text.trim_start().starts_with('[');
        (is_plain(input) && is_plain(output)).then(|| (self.system.map_or("", text), input, output))
    }
}
