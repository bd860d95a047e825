//! What a message says of whether it is learned.

use serde_json::{Map, Value};

/// Names of the flag (OpenAI's, axolotl's two, ms-swift's, torchtune's), and whether true means that it is learned.
const FLAGS: [(&str, bool); 5] =
    [("weight", true), ("train", true), ("training", true), ("loss", true), ("masked", false)];

/// Takes the flags out of the fields, for no template asks for them, and gives what they say.
///
/// # Errors
/// A flag of another value, or two that contradict each other.
pub fn take(fields: &mut Map<String, Value>) -> Result<Option<bool>, String> {
    let mut found: Option<(&str, bool)> = None;
    for (name, sense) in FLAGS {
        let Some(value) = fields.get(name).filter(|value| is_flag(value)).cloned() else { continue };
        fields.shift_remove(name);
        if value.is_null() {
            continue;
        }
        let learned = match truth(&value) {
            Some(flag) => flag == sense,
            None => return Err(format!("{name} is {value}, expected 0, 1, true or false")),
        };
        match found {
            Some((other, before)) if before != learned => {
                return Err(format!("'{other}' and '{name}' do not agree on whether it is learned"));
            }
            _ => found = Some((name, learned)),
        }
    }
    Ok(found.map(|(_, learned)| learned))
}

/// Texts and lists by these names are something else.
fn is_flag(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(_) | Value::Number(_))
}

fn truth(value: &Value) -> Option<bool> {
    let number = value.as_f64();
    value.as_bool().or_else(|| (number == Some(1.0)).then_some(true)).or_else(|| (number == Some(0.0)).then_some(false))
}
