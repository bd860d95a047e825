//! Whether a message is learned, under the names that data sets have for it.

use serde_json::{Map, Value};

use super::reason::{Fault, broken};

/// Names of the flag, and whether true means that the message is learned.
const FLAGS: [(&str, bool); 5] =
    [("weight", true), ("train", true), ("training", true), ("loss", true), ("masked", false)];

/// Whether `key` is such a flag.
pub fn is_flag(key: &str) -> bool {
    FLAGS.iter().any(|(name, _)| *name == key)
}

/// `weight` (OpenAI, 0 or 1), `train`, `training` (axolotl), `loss` (ms-swift) and `masked` (torchtune) as one flag; none
/// where the message has none of them.
///
/// # Errors
/// [`Fault::Broken`] if one is neither, or two of them do not agree.
pub fn train(message: &Map<String, Value>) -> Result<Option<bool>, Fault> {
    let mut found: Option<(&str, bool)> = None;
    for (name, sense) in FLAGS {
        let Some(value) = message.get(name).filter(|value| !value.is_null()) else {
            continue;
        };
        let Some(flag) = truth(value) else {
            return broken(format!("has {name} {value}, expected {}", expected(name)));
        };
        let learned = flag == sense;
        match found {
            Some((other, before)) if before != learned => {
                return broken(format!("is learned by its '{other}' and not by its '{name}', or the other way round"));
            }
            _ => found = Some((name, learned)),
        }
    }
    Ok(found.map(|(_, learned)| learned))
}

fn expected(name: &str) -> &'static str {
    if name == "weight" { "0 or 1" } else { "true or false" }
}

/// Booleans, 0 and 1, and their texts as tables have them.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_f64() {
            Some(0.0) => Some(false),
            Some(1.0) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "1.0" => Some(true),
            "false" | "0" | "0.0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flag(message: &Value) -> Result<Option<bool>, Fault> {
        train(message.as_object().unwrap())
    }

    #[test]
    fn every_name_of_the_flag() {
        for (message, learned) in [
            (json!({}), None),
            (json!({"weight": null}), None),
            (json!({"weight": 0}), Some(false)),
            (json!({"weight": 1.0}), Some(true)),
            (json!({"train": true}), Some(true)),
            (json!({"training": false}), Some(false)),
            (json!({"loss": "False"}), Some(false)),
            (json!({"masked": true}), Some(false)),
            (json!({"masked": 0, "weight": 1}), Some(true)),
        ] {
            assert_eq!(flag(&message).unwrap(), learned, "{message}");
        }
        assert!(
            matches!(flag(&json!({"weight": 0.5})), Err(Fault::Broken(told)) if told == "has weight 0.5, expected 0 or 1")
        );
        flag(&json!({"train": true, "masked": true})).unwrap_err();
    }
}
