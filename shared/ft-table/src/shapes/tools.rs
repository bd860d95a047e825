//! Tools that a model may call, and its calls.

use serde_json::{Map, Value, json};

use super::reason::{Fault, broken};
use crate::json_text::kind;

/// JSON in a text as what it says; blank text and empty lists and objects as null; anything else as it is.
pub(super) fn parsed(value: &Value, what: &str) -> Result<Value, Fault> {
    let value = match value {
        Value::String(text) if text.trim().is_empty() => Value::Null,
        Value::String(text) => match crate::json_text::parse_value(text) {
            Ok(value) => value,
            Err(told) => return broken(format!("{what} is text that is no JSON: {told}")),
        },
        other => other.clone(),
    };
    let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
    Ok(if empty { Value::Null } else { value })
}

/// `tools`: a list of tools, or JSON text of it; each may be JSON text too.
pub(super) fn tools(value: &Value, column: &str) -> Result<Option<Value>, Fault> {
    let what = format!("'{column}'");
    match parsed(value, &what)? {
        Value::Null => Ok(None),
        Value::Array(items) => {
            let each = items.iter().map(|item| parsed(item, &format!("a tool of {what}")));
            Ok(Some(Value::Array(each.collect::<Result<_, _>>()?)))
        }
        other => broken(format!("{what} is {}, expected a list of tools", kind(&other))),
    }
}

/// `functions`, the old form of `tools`.
pub(super) fn functions(value: &Value, column: &str) -> Result<Option<Value>, Fault> {
    let Some(Value::Array(items)) = tools(value, column)? else {
        return Ok(None);
    };
    let wrapped = items.into_iter().map(|item| match item {
        Value::Object(ref tool) if tool.contains_key("function") => item,
        function => json!({"type": "function", "function": function}),
    });
    Ok(Some(wrapped.collect()))
}

/// `chat_template_kwargs`: names and values, or JSON text of them.
pub(super) fn variables(value: &Value, column: &str) -> Result<Option<Value>, Fault> {
    match parsed(value, &format!("'{column}'"))? {
        Value::Null => Ok(None),
        object @ Value::Object(_) => Ok(Some(object)),
        other => broken(format!("'{column}' is {}, expected names and values", kind(&other))),
    }
}

/// A message's calls: `tool_calls`, or the old `function_call`.
pub(super) fn calls(message: &Map<String, Value>) -> Result<Option<Value>, Fault> {
    if let Some(value) = message.get("tool_calls") {
        match parsed(value, "'tool_calls'")? {
            Value::Null => {}
            calls @ Value::Array(_) => return Ok(Some(calls)),
            other => return broken(format!("has {} as 'tool_calls', expected a list", kind(&other))),
        }
    }
    match parsed(message.get("function_call").unwrap_or(&Value::Null), "'function_call'")? {
        Value::Null => Ok(None),
        call @ Value::Object(_) => Ok(Some(json!([{"type": "function", "function": call}]))),
        other => broken(format!("has {} as 'function_call', expected an object", kind(&other))),
    }
}

/// The content of ShareGPT's `function_call`: one call or a list of them, as JSON text.
pub(super) fn called(content: Option<&str>) -> Result<Value, Fault> {
    let value = parsed(&content.unwrap_or_default().into(), "the call")?;
    let calls = match value {
        call @ Value::Object(_) => vec![call],
        Value::Array(calls) => calls,
        other => return broken(format!("calls {}, expected JSON with name and arguments", kind(&other))),
    };
    Ok(calls
        .into_iter()
        .map(|call| if call.get("function").is_some() { call } else { json!({"type": "function", "function": call}) })
        .collect())
}

/// The list of messages that a text is, if it is JSON of one: in tables, prompts and completions may be written so.
pub fn is_message_list(text: &str) -> Option<Vec<Value>> {
    let inner = text.trim_start().strip_prefix('[')?;
    if !inner.trim_start().starts_with('{') {
        return None;
    }
    let Ok(Value::Array(items)) = crate::json_text::parse_value(text) else {
        return None;
    };
    let speaks = |item: &Value| item.get("role").or(item.get("from")).is_some_and(Value::is_string);
    items.iter().all(speaks).then_some(items)
}
