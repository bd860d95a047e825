//! Which columns hold conversations or documents.

use anyhow::{Result, bail};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use ft_table::schema::{CHAT_TEMPLATE_KWARGS, INPUT_IDS, MESSAGES, TEXT, TOOL_CALLS, TOOLS};

use crate::json;

/// Whether `schema` is one of documents: a text, and no messages.
pub fn holds_documents(schema: &Schema) -> bool {
    let tokens = |name: &str| schema.field_with_name(name).is_ok();
    let is_documents = schema.field_with_name(TEXT).is_ok_and(|field| is_text(field.data_type()));
    // Tokens have their text beside them.
    is_documents && !tokens(MESSAGES) && !tokens(INPUT_IDS)
}

/// Fails unless `schema` has `messages` of the right type.
pub fn check(name: &str, schema: &Schema) -> Result<()> {
    let advice = "run ft-prep first, which makes it of every common form of data";
    let Ok(field) = schema.field_with_name(MESSAGES) else {
        let present: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        bail!("{name}: no column '{MESSAGES}' (there are: {}); {advice}", present.join(", "));
    };
    if !is_text(field.data_type()) && message_fields(field).is_none() {
        bail!(
            "{name}: column '{MESSAGES}' is {}, expected a list of role and content; {advice}",
            describe(field.data_type())
        );
    }
    for column in [TOOLS, CHAT_TEMPLATE_KWARGS] {
        if let Ok(field) = schema.field_with_name(column)
            && !is_text(field.data_type())
            && !json::is_supported(field.data_type())
        {
            bail!("{name}: column '{column}' is {}, expected JSON in a text, or lists and structs", field.data_type());
        }
    }
    Ok(())
}

/// The fields of a message if the column is a list of them: `role` is a text, and what
/// else there is can be given to a template.
fn message_fields(field: &Field) -> Option<&Fields> {
    let (DataType::List(item) | DataType::LargeList(item)) = field.data_type() else {
        return None;
    };
    let DataType::Struct(fields) = item.data_type() else {
        return None;
    };
    let (_, role) = fields.find("role")?;
    let known = |field: &Field| is_text(field.data_type()) || json::is_supported(field.data_type());
    let speaks = fields.find("content").or_else(|| fields.find(TOOL_CALLS)).is_some();
    (is_text(role.data_type()) && speaks && fields.iter().all(|field| known(field))).then_some(fields)
}

/// Whether the type is one of texts.
pub fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

fn describe(kind: &DataType) -> String {
    match kind {
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
