//! JSON texts: parsed with their digits kept, and what is wrong with them in words.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// What a JSON value is, for messages.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Any value; integers beyond 64 bits become texts, so that none of their digits is lost.
///
/// # Errors
/// What is wrong, in words.
pub fn parse_value(text: &str) -> Result<Value, String> {
    serde_json::from_str(&with_long_integers_quoted(text)).map_err(|error| in_words(text, &error))
}

/// One object.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn parse_object(text: &str) -> Result<Map<String, Value>, String> {
    match parse_value(text)? {
        Value::Object(object) => Ok(object),
        other => Err(format!("expected an object, found {}", kind(&other))),
    }
}

/// The parser's words, and what it does not know: how Python writes what JSON has no form for.
fn in_words(text: &str, error: &serde_json::Error) -> String {
    let told = error.to_string();
    let told = told.split(" at line ").next().unwrap_or(&told);
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or(text);
    // The parser stops within the word, or one byte behind it.
    let mut from = error.column().saturating_sub(10).min(line.len());
    while !line.is_char_boundary(from) {
        from -= 1;
    }
    let near: String = line[from..].chars().take(20).collect();
    let advice = if let Some(word) = ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| near.contains(word)) {
        format!("; {word} is Python's and no JSON: write null or a text in its place")
    } else if told.contains("surrogate") || told.contains("hex escape") {
        "; half of a surrogate pair is no character: write the text with errors='replace' or drop the row".into()
    } else if told.contains("number out of range") {
        "; no 64-bit float is as large".into()
    } else {
        String::new()
    };
    format!("not JSON: {told} (column {}){advice}", error.column())
}

/// The shortest integer that may be beyond 64 bits.
const LONG: usize = 19;

/// Integers beyond 64 bits in quotes.
fn with_long_integers_quoted(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(bytes, at),
            b'-' | b'0'..=b'9' => {
                let digits = at + usize::from(bytes[at] == b'-');
                let end = digits + bytes[digits..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let whole = !matches!(bytes.get(end), Some(b'.' | b'e' | b'E'));
                let number = &text[at..end];
                let long = end - digits >= LONG && number.parse::<u64>().is_err() && number.parse::<i64>().is_err();
                if whole && long && bytes[digits] != b'0' {
                    out.push_str(&text[copied..at]);
                    out.extend(["\"", number, "\""]);
                    copied = end;
                }
                at = end + usize::from(end == at);
                // What follows belongs to the number.
                at += bytes[at..]
                    .iter()
                    .take_while(|b| matches!(b, b'.' | b'e' | b'E' | b'+' | b'-' | b'0'..=b'9'))
                    .count();
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// One past the quote that closes the one at `at`.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut from = at + 1;
    while let Some(quote) = memchr::memchr2(b'"', b'\\', &bytes[from.min(bytes.len())..]) {
        from += quote + 1;
        if bytes[from - 1] == b'"' {
            return from;
        }
        from += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_digits_of_long_integers_are_kept() {
        let value = parse_value(
            r#"{"a": 31900441201190696999, "b": -9223372036854775809, "c": [18446744073709551616, 1],
                "d": 18446744073709551615, "e": -9223372036854775808, "f": 12345678901234567890.5, "g": 1e30,
                "h": "12345678901234567890123 \" 5", "\\": 31900441201190696999}"#,
        )
        .unwrap();
        assert_eq!(value["a"], "31900441201190696999");
        assert_eq!(value["b"], "-9223372036854775809");
        assert_eq!(value["c"], json!(["18446744073709551616", 1]));
        assert_eq!(value["d"], u64::MAX);
        assert_eq!(value["e"], i64::MIN);
        assert_eq!((value["f"].as_f64(), value["g"].as_f64()), (Some(1.2345678901234567e19), Some(1e30)));
        assert_eq!(value["h"], "12345678901234567890123 \" 5");
        assert_eq!(value["\\"], "31900441201190696999");
        assert_eq!(parse_value("-31900441201190696999").unwrap(), "-31900441201190696999");
    }

    #[test]
    fn faults_are_told_in_words() {
        assert_eq!(parse_object("[1]").unwrap_err(), "expected an object, found a list");
        let told = parse_object(r#"{"a" 1}"#).unwrap_err();
        assert_eq!(told, "not JSON: expected `:` (column 6)");
        for word in ["NaN", "Infinity", "-Infinity"] {
            let told = parse_object(&format!(r#"{{"some": "é", "a": {word}, "b": 1}}"#)).unwrap_err();
            assert!(told.contains(&format!("; {word} is Python's")), "{told}");
        }
        let told = parse_object(r#"{"a": "\ud83d"}"#).unwrap_err();
        assert!(told.contains("half of a surrogate pair"), "{told}");
        for broken in ["-", "{\"a\": -", "1e", "\"", "{\"a\": \"\\"] {
            parse_value(broken).unwrap_err();
        }
    }
}
