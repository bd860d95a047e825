//! HellaSwag's texts, as lm-eval cleans them (`tasks/hellaswag/utils.py`).

/// Without the marks that the WikiHow part of the data has: `[title]` is a full stop, other brackets go.
pub(crate) fn cleaned(text: &str) -> String {
    without_brackets(&text.trim().replace(" [title]", ". ")).replace("  ", " ")
}

/// The first character in upper case and the rest in lower case, as Python's `str.capitalize` has it.
pub(crate) fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters.as_str().to_lowercase().chars()).collect(),
        None => String::new(),
    }
}

/// Takes out what is in brackets, from each `[` to the next `]` on its line.
fn without_brackets(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        kept.push_str(&rest[..open]);
        let after = &rest[open..];
        match after.find([']', '\n']) {
            Some(close) if after[close..].starts_with(']') => rest = &after[close + 1..],
            _ => {
                kept.push('[');
                rest = &after[1..];
            }
        }
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cleaned_as_lm_eval_cleans_them() {
        assert_eq!(cleaned(" How to bake [title] Mix [step]  all. [substeps]"), "How to bake. Mix  all. ");
        assert_eq!(cleaned("a [b] [c\nd] [[e]] f"), "a [c\nd] ] f");
        assert_eq!(cleaned("[open"), "[open");
    }

    #[test]
    fn capitals_are_pythons() {
        assert_eq!(["a MAN", "THE", "\u{e9} L\u{c0}", ""].map(capitalised), ["A man", "The", "\u{c9} l\u{e0}", ""]);
    }
}
