//! Conversations out of the columns of a batch.

use anyhow::{Context, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, GenericListArray, OffsetSizeTrait, RecordBatch, StringArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};
use ft_table::Rows;
use ft_table::schema::{CHAT_TEMPLATE_KWARGS, MESSAGES, REFERENCE, TEXT, TOOL_CALLS, TOOLS};
use ft_table::shapes::{Fault, Reading, Shape, is_flag, train};
use ft_text::Message;
use serde_json::{Map, Value};

use crate::accepted::is_text;
use crate::json;
use crate::shaped::Examples;

/// The columns that are read, where they are there; of documents only the text.
pub const COLUMNS: [&str; 4] = [MESSAGES, REFERENCE, TOOLS, CHAT_TEMPLATE_KWARGS];

/// The conversations of one batch.
pub struct Conversations {
    messages: Messages,
    rows: usize,
    /// The columns that go with their rows.
    pub kept: Vec<ArrayRef>,
    references: Option<StringArray>,
    tools: Option<ArrayRef>,
    variables: Option<ArrayRef>,
}

/// The column `messages`, or `text`.
enum Messages {
    /// What rows of other shapes were read as.
    Examples(Examples),
    /// Documents.
    Texts(StringArray),
    /// A list of structs.
    Structs(Box<Structs>),
    /// JSON in a text.
    Json(StringArray),
}

struct Structs {
    /// Row `i` has the messages `ends[i]..ends[i + 1]`.
    ends: Vec<usize>,
    nulls: Option<ArrayRef>,
    items: StructArray,
    /// `role` and `content` where there is nothing else and both are texts.
    plain: Option<(StringArray, StringArray)>,
}

impl Conversations {
    /// Takes the columns of `batch`, which [`crate::accepted::check`] has passed.
    pub fn new(batch: &RecordBatch, kept: &[String]) -> Result<Self> {
        let messages = match batch.column_by_name(MESSAGES) {
            Some(column) => Messages::new(column)?,
            None => Messages::Texts(text(batch.column_by_name(TEXT).context("a batch lost its messages")?)?),
        };
        let kept = kept.iter().filter_map(|name| batch.column_by_name(name).cloned()).collect();
        let any = |name: &str| batch.column_by_name(name).map(plain_text).transpose();
        let references =
            batch.column_by_name(REFERENCE).filter(|column| is_text(column.data_type())).map(text).transpose()?;
        Ok(Self {
            messages,
            kept,
            rows: batch.num_rows(),
            references,
            tools: any(TOOLS)?,
            variables: any(CHAT_TEMPLATE_KWARGS)?,
        })
    }

    /// Reads `rows` of a shape; `kept` are their columns that go with them.
    pub fn of_rows(rows: Rows, shape: &Shape, reading: &Reading, kept: Vec<ArrayRef>) -> Self {
        let examples = Examples::new(rows, shape, reading);
        let references = (0..examples.len()).map(|row| examples.column(row, REFERENCE));
        let references = Some(references.collect::<StringArray>());
        let (rows, messages) = (examples.len(), Messages::Examples(examples));
        Self { messages, rows, kept, references, tools: None, variables: None }
    }

    /// Where row `row` stands in a file that has lines; none where its number says it.
    pub fn place(&self, row: usize) -> Option<String> {
        match &self.messages {
            Messages::Examples(examples) => Some(examples.place(row)),
            _ => None,
        }
    }

    /// Fields of the messages of row `row` that are not read.
    pub fn unread(&self, row: usize) -> &[String] {
        match &self.messages {
            Messages::Examples(examples) => examples.unread(row),
            _ => &[],
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// The document of row `row`, where the rows are documents, or what is wrong with it.
    pub fn document(&self, row: usize) -> Option<Result<&str, String>> {
        let texts = match &self.messages {
            Messages::Texts(texts) => texts,
            Messages::Examples(examples) => return examples.text(row).transpose(),
            _ => return None,
        };
        Some(if texts.is_null(row) || texts.value(row).is_empty() {
            Err("the text is empty".into())
        } else {
            Ok(texts.value(row))
        })
    }

    /// The messages of row `row`, or what is wrong with them.
    pub fn messages(&self, row: usize) -> Result<Vec<Message>, String> {
        let messages = self.messages.row(row)?;
        if messages.is_empty() {
            return Err("the conversation has no messages".into());
        }
        for (i, message) in messages.iter().enumerate() {
            if message.role().is_empty() {
                return Err(format!("message {i}: role is missing, expected text"));
            }
            let fields = message.fields();
            if !fields.contains_key("content") && !fields.contains_key(TOOL_CALLS) {
                return Err(format!("message {i}: content is null, expected text"));
            }
        }
        Ok(messages)
    }

    /// The variables that row `row` gives the template, `tools` among them.
    pub fn variables(&self, row: usize) -> Result<Map<String, Value>, String> {
        if let Messages::Examples(examples) = &self.messages {
            return Ok(examples.variables(row));
        }
        let mut found = match cell(self.variables.as_ref(), CHAT_TEMPLATE_KWARGS, row)? {
            Value::Null => Map::new(),
            // Rows that lack a key have null for it where the column is a struct.
            Value::Object(map) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
            other => return Err(format!("{CHAT_TEMPLATE_KWARGS} is {other}, expected names and values")),
        };
        match cell(self.tools.as_ref(), TOOLS, row)? {
            Value::Null => {}
            Value::Array(tools) => {
                let tools: Result<Value, String> = tools.into_iter().map(json::parsed).collect();
                found.insert(TOOLS.into(), tools.map_err(|e| format!("{TOOLS}: a tool {e}"))?);
            }
            other => return Err(format!("{TOOLS} is {other}, expected a list")),
        }
        Ok(found)
    }

    /// What the input gives as the row's `reference`.
    pub fn reference(&self, row: usize) -> Option<&str> {
        let references = self.references.as_ref()?;
        references.is_valid(row).then(|| references.value(row))
    }
}

/// A value that may be JSON in a text; null where there is no column.
fn cell(column: Option<&ArrayRef>, name: &str, row: usize) -> Result<Value, String> {
    let value = column.map_or(Value::Null, |column| json::value(column, row));
    json::parsed(value).map_err(|e| format!("{name} {e}"))
}

impl Messages {
    fn new(column: &ArrayRef) -> Result<Self> {
        if is_text(column.data_type()) {
            return Ok(Self::Json(text(column)?));
        }
        let (ends, items) = match column.data_type() {
            DataType::LargeList(_) => parts(column.as_list::<i64>()),
            _ => parts(column.as_list::<i32>()),
        };
        let both = |name: &str| items.column_by_name(name).filter(|column| is_text(column.data_type())).map(text);
        let plain = match (items.num_columns(), both("role"), both("content")) {
            (2, Some(roles), Some(contents)) => Some((roles?, contents?)),
            _ => None,
        };
        let columns = items.columns().iter().map(plain_text).collect::<Result<Vec<_>>>()?;
        let fields = items.fields().iter().zip(&columns);
        let fields: Fields = fields
            .map(|(f, c)| Field::new(f.name(), c.data_type().clone(), true).with_metadata(f.metadata().clone()))
            .collect();
        let items = StructArray::try_new_with_length(fields, columns, items.nulls().cloned(), items.len())?;
        let nulls = (column.null_count() > 0).then(|| column.clone());
        Ok(Self::Structs(Box::new(Structs { ends, nulls, items, plain })))
    }

    fn row(&self, row: usize) -> Result<Vec<Message>, String> {
        match self {
            Self::Texts(_) => Ok(Vec::new()),
            Self::Examples(examples) => examples.messages(row),
            Self::Json(texts) if texts.is_null(row) => Ok(Vec::new()),
            Self::Json(texts) => from_json(texts.value(row)),
            Self::Structs(structs) => structs.row(row),
        }
    }
}

impl Structs {
    fn row(&self, row: usize) -> Result<Vec<Message>, String> {
        if self.nulls.as_ref().is_some_and(|column| column.is_null(row)) {
            return Ok(Vec::new());
        }
        let (start, end) = (self.ends[row], self.ends[row + 1]);
        (start..end).map(|i| self.message(i).map_err(|e| format!("message {}{e}", i - start))).collect()
    }

    fn message(&self, i: usize) -> Result<Message, String> {
        if self.items.is_null(i) {
            return Err(" is null".into());
        }
        match &self.plain {
            Some((roles, contents)) if roles.is_valid(i) && contents.is_valid(i) => {
                Ok(Message::new(roles.value(i), contents.value(i)))
            }
            _ => from_struct(&self.items, i).map_err(|e| format!(": {e}")),
        }
    }
}

/// All fields of the message at `i`.
fn from_struct(items: &StructArray, i: usize) -> Result<Message, String> {
    let named = items.fields().iter().zip(items.columns());
    complete(named.map(|(field, column)| (field.name().clone(), json::field_value(field, column, i))).collect())
}

fn from_json(text: &str) -> Result<Vec<Message>, String> {
    let messages: Vec<Map<String, Value>> =
        serde_json::from_str(text).map_err(|e| format!("messages is not JSON of a list of messages: {e}"))?;
    messages.into_iter().enumerate().map(|(i, m)| complete(m).map_err(|e| format!("message {i}: {e}"))).collect()
}

/// A message of its fields; calls of tools may be JSON in a text.
fn complete(mut fields: Map<String, Value>) -> Result<Message, String> {
    let learned = train(&fields).map_err(|fault| match fault {
        Fault::Drop(reason) => reason.to_string(),
        Fault::Broken(told) => told,
    })?;
    // No template asks for it.
    fields.retain(|name, _| !is_flag(name));
    if let Some(calls) = fields.get_mut(TOOL_CALLS) {
        *calls = json::parsed(calls.take()).map_err(|e| format!("{TOOL_CALLS} {e}"))?;
    }
    let mut message = Message::from_fields(fields);
    message.set_learned(learned);
    Ok(message)
}

/// Where the rows of a list column end, and its items.
fn parts<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> (Vec<usize>, StructArray) {
    (list.offsets().iter().map(|end| end.as_usize()).collect(), list.values().as_struct().clone())
}

/// A text column of whatever kind as plain text.
fn text(column: &ArrayRef) -> Result<StringArray> {
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// The column, as plain text if it is one of texts.
fn plain_text(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(if is_text(column.data_type()) { cast(column, &DataType::Utf8)? } else { column.clone() })
}
