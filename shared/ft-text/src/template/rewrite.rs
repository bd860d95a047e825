//! What has to be said otherwise for minijinja, before it reads a template.
//!
//! - `{% generation %}`, which transformers adds to Jinja: minijinja knows no tags but
//!   its own, so the tag becomes a filter block ([`super::generation`]), dashes kept.
//! - `{% for x in none %}` fails in Python and loops over nothing in minijinja; the
//!   iterated expression goes through a filter that refuses `none`, so that a template
//!   that needs tools does not quietly render without.
//! - `'%s' % x` formats in Python; minijinja's `%` is for numbers alone, so that a text
//!   in quotes with a `%` behind it goes to a filter ([`super::format`]).
//! - `a|safe + b` escapes `b` in Python, where `safe` makes a text that takes no other
//!   unescaped; so `b` goes through `e` ([`super::format`]).
//! - `'\/'` is a backslash and a slash in Python, and a slash in minijinja.
//! - A line may end in `\r\n`; Jinja makes `\n` of it.
//!
//! Lines keep their numbers.

use super::format;
use super::generation;
use super::lazy;

/// A template as minijinja reads it.
pub(super) struct Rewritten {
    pub source: String,
    /// Whether there was a `{% generation %}`.
    pub marks_generation: bool,
}

/// Rewrites `source`.
pub(super) fn rewrite(source: &str) -> Rewritten {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = Rewritten { source: String::with_capacity(source.len() + 64), marks_generation: false };
    let mut rest = source.as_str();
    while let Some(at) = rest.find('{') {
        out.source.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match rest.as_bytes().get(1) {
            Some(b'#') => rest.find("#}").map_or(rest.len(), |end| end + 2),
            Some(b'{') => {
                let (code, after) = rest.split_at(code_end(rest, "}}"));
                out.source.push_str(&expression(code));
                rest = after;
                continue;
            }
            Some(b'%') => {
                rest = out.tag(rest);
                continue;
            }
            _ => 1,
        };
        out.source.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out.source.push_str(rest);
    out
}

impl Rewritten {
    /// Takes the tag at the beginning of `rest` and gives what follows it.
    fn tag<'a>(&mut self, rest: &'a str) -> &'a str {
        let end = code_end(rest, "%}");
        let (tag, after) = rest.split_at(end);
        let Some(inner) = tag.strip_prefix("{%").and_then(|t| t.strip_suffix("%}")) else {
            self.source.push_str(tag);
            return after;
        };
        let (before, inner) = sign(inner, str::strip_prefix);
        let (behind, inner) = sign(inner, str::strip_suffix);
        let name = inner.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let body = match name {
            "generation" if inner.trim() == name => {
                self.marks_generation = true;
                format!(" filter {} %}}{{% with ", generation::FILTER)
            }
            "endgeneration" if inner.trim() == name => " endwith %}{% endfilter ".to_owned(),
            "for" => expression(&checked_loop(inner).unwrap_or_else(|| inner.to_owned())),
            "raw" => {
                let end = raw_end(after);
                self.source.push_str(tag);
                self.source.push_str(&after[..end]);
                return &after[end..];
            }
            _ => expression(inner),
        };
        // A tag over several lines still takes as many.
        let lost = inner.matches('\n').count() - body.matches('\n').count();
        self.source.extend(["{%", before, &body, &"\n".repeat(lost), behind, "%}"]);
        after
    }
}

/// The sign that trims white space at one end of a tag, and the rest.
fn sign<'a>(text: &'a str, strip: fn(&'a str, &'static str) -> Option<&'a str>) -> (&'static str, &'a str) {
    ["-", "+"].into_iter().find_map(|s| strip(text, s).map(|rest| (s, rest))).unwrap_or(("", text))
}

/// Where the code that `text` begins with (`{{` or `{%`) ends, its closing braces
/// included; they count for nothing inside texts and brackets.
pub(super) fn code_end(text: &str, closing: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 2;
    while at < text.len() {
        let rest = &text[at..];
        if depth == 0 && rest.starts_with(closing) {
            return at + closing.len();
        }
        let Some(c) = rest.chars().next() else { break };
        match c {
            '\'' | '"' => at += text_length(rest),
            '(' | '[' | '{' => (depth, at) = (depth + 1, at + 1),
            ')' | ']' | '}' => (depth, at) = (depth.saturating_sub(1), at + 1),
            _ => at += c.len_utf8(),
        }
    }
    text.len()
}

/// The length of the text in quotes that `rest` begins with.
pub(super) fn text_length(rest: &str) -> usize {
    let quote = rest.as_bytes()[0];
    let mut escaped = false;
    for (at, &byte) in rest.as_bytes().iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `code` with its texts in quotes, and what is formatted with them, said anew.
fn expression(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(['\'', '"', '|']) {
        out.push_str(&rest[..at]);
        if rest[at..].starts_with('|') {
            rest = filters(&rest[at..], &mut out);
            continue;
        }
        let (text, after) = rest[at..].split_at(text_length(&rest[at..]));
        let text = slashes(text);
        let operator = after.trim_start();
        rest = match operator.strip_prefix('%').filter(|argument| !argument.starts_with('}')) {
            None => {
                out.push_str(&text);
                after
            }
            Some(argument) => {
                let gap = argument.len() - argument.trim_start().len();
                let (argument, after) = argument.split_at(gap + operand_length(&argument[gap..]));
                out.extend(["(", &text, "|", format::PERCENT, "(", &expression(argument), "))"]);
                after
            }
        };
    }
    out.push_str(rest);
    out
}

/// Takes the `|` at the beginning of `rest`, and if the filter is `safe` or `e`, what is
/// added to the text that it makes; gives what follows.
fn filters<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let name = rest[1..].trim_start();
    let length = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    let (name, mut after) = name.split_at(length);
    out.push('|');
    out.push_str(name);
    if !matches!(name, "safe" | "e" | "escape") {
        return after;
    }
    while let Some(operand) = after.trim_start().strip_prefix('+') {
        let operand = operand.trim_start();
        let (operand, rest) = operand.split_at(operand_length(operand));
        out.extend([" + (", &expression(operand), ")|e"]);
        after = rest;
    }
    after
}

/// `\\/` in a text in quotes, which minijinja takes for a slash.
fn slashes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '\\' {
            match chars.next() {
                Some('/') => out.push_str("\\/"),
                Some(other) => out.push(other),
                None => {}
            }
        }
    }
    out
}

/// The length of the operand that `rest` begins with: a sign, a value, and what hangs on
/// it (attributes, items, calls, filters).
fn operand_length(rest: &str) -> usize {
    let mut at = rest.len() - rest.trim_start_matches(['+', '-']).len();
    let mut wants_value = true;
    while let Some(c) = rest[at..].chars().next() {
        let here = &rest[at..];
        let gap = here.len() - here.trim_start().len();
        match c {
            '\'' | '"' if wants_value => at += text_length(here),
            '(' | '[' => at += bracket_length(here),
            '{' if wants_value => at += bracket_length(here),
            '.' | '|' => {
                at += 1;
                wants_value = true;
                continue;
            }
            c if c.is_whitespace() && (wants_value || here.trim_start().starts_with('|')) => {
                at += gap;
                continue;
            }
            c if wants_value && (c.is_alphanumeric() || c == '_') => {
                at += here.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(here.len());
            }
            _ => break,
        }
        wants_value = false;
    }
    at
}

/// The length of the bracket that `rest` begins with.
fn bracket_length(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(c) = rest[at..].chars().next() {
        match c {
            '\'' | '"' => {
                at += text_length(&rest[at..]);
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Where the text after `{% raw %}` ends: at its closing tag.
pub(super) fn raw_end(after: &str) -> usize {
    let mut from = 0;
    while let Some(at) = after[from..].find("{%").map(|at| from + at) {
        let inner = after[at + 2..].trim_start_matches(['-', '+']).trim_start();
        if inner.starts_with("endraw") {
            return at;
        }
        from = at + 2;
    }
    after.len()
}

/// `for x in ITEMS if …` with `ITEMS` made `(ITEMS)|filter`; `None` if it is no loop.
fn checked_loop(inner: &str) -> Option<String> {
    let words = words(inner);
    let start = words.iter().find(|(_, word)| *word == "in")?.0 + 2;
    let end = words
        .iter()
        .find(|&&(at, word)| at > start && (word == "if" || word == "recursive"))
        .map_or(inner.len(), |&(at, _)| at);
    let (head, items, tail) = (&inner[..start], inner[start..end].trim(), &inner[end..]);
    (!items.is_empty()).then(|| {
        let gap = if inner[start..].starts_with('\n') { "\n" } else { " " };
        format!("{head}{gap}({items})|{} {tail}", lazy::ITERABLE)
    })
}

/// The words of `code` outside of texts and brackets, and where each begins.
pub(super) fn words(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(c) = code[at..].chars().next() {
        match c {
            '\'' | '"' => at += text_length(&code[at..]),
            '(' | '[' | '{' => (depth, at) = (depth + 1, at + 1),
            ')' | ']' | '}' => (depth, at) = (depth.saturating_sub(1), at + 1),
            c if c.is_alphabetic() || c == '_' => {
                let rest = &code[at..];
                let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                // What follows a point is an attribute, not a word.
                if depth == 0 && !code[..at].ends_with('.') {
                    found.push((at, &rest[..length]));
                }
                at += length;
            }
            _ => at += c.len_utf8(),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(source: &str) -> String {
        rewrite(source).source
    }

    #[test]
    fn loops_are_checked() {
        for (source, expected) in [
            ("{% for x in y %}", "{% for x in (y)|I %}"),
            ("{%- for a, b in f(' if ', {'in': 1}) if a -%}", "{%- for a, b in (f(' if ', {'in': 1}))|I if a -%}"),
            ("{% for x in (1 if y else 2) recursive %}", "{% for x in ((1 if y else 2))|I recursive %}"),
            ("{% for x in 1, y.if %}", "{% for x in (1, y.if)|I  %}"),
        ] {
            let squeeze = |text: &str| text.replace("  ", " ");
            assert_eq!(squeeze(&rewritten(source)), squeeze(&expected.replace('I', lazy::ITERABLE)), "{source}");
        }
    }

    #[test]
    fn what_is_no_tag_is_left_alone() {
        for source in [
            "{# {% for x in y %} #} { {{ '{% for x in y %}' }} }",
            "{% raw %}{% for x in y %}{% generation %}{%- endraw %}",
            "{{ {'a': {'b': '}}'}} }}{% set x = '%}' %}{% format in y %}",
            "{% for x",
            "{{ 'open",
        ] {
            let out = rewrite(source);
            assert_eq!((out.source.as_str(), out.marks_generation), (source, false));
        }
    }

    #[test]
    fn texts_are_formatted() {
        for (source, expected) in [
            ("{{ '%s' % a.b['c'](1)|d + 'e' }}", "{{ ('%s'|P( a.b['c'](1)|d)) + 'e' }}"),
            ("{{ \"%d\" % (a, '%s' % b) }}", "{{ (\"%d\"|P( (a, ('%s'|P( b))))) }}"),
            ("{% if '%' % -1 == x %}", "{% if ('%'|P( -1)) == x %}"),
            ("{{ 7 % 4 }}{% set x = 'a' %}{{ '\\/\\\\/' }}", "{{ 7 % 4 }}{% set x = 'a' %}{{ '\\\\/\\\\/' }}"),
        ] {
            assert_eq!(rewritten(source), expected.replace('P', format::PERCENT), "{source}");
        }
    }

    #[test]
    fn lines_keep_their_numbers() {
        let source = "{%\n for x\n in\n y\n %}\r\n{%-\n generation\n-%}\rx";
        let out = rewrite(source);
        assert!(out.marks_generation);
        assert_eq!(out.source.matches('\n').count(), 8);
        assert!(!out.source.contains('\r'));
    }
}
