//! A template as minijinja's lexer sees it, its white space trimmed already: what is written anew of these tokens, with
//! other tags between them, renders as the template does.

use super::rewrite::{code_end, raw_end};

/// A piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Text that is written as it is.
    Text(&'a str),
    /// The same out of `{% raw %}`.
    Raw(&'a str),
    /// The code of `{{ … }}`.
    Print(&'a str),
    /// The first word and the code of `{% … %}`.
    Tag { name: &'a str, code: &'a str },
}

/// What stands at an end of a tag and says how white space beside it is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    None,
    Minus,
    Plus,
}

impl Sign {
    fn of(c: Option<char>) -> Self {
        match c {
            Some('-') => Self::Minus,
            Some('+') => Self::Plus,
            _ => Self::None,
        }
    }
}

/// The tokens of `source`, which has no `\r`; `None` where it does not end as it should.
pub(super) fn tokens(source: &str) -> Option<Vec<Token<'_>>> {
    // Of a template's end one line break is left out.
    let source = source.strip_suffix('\n').unwrap_or(source);
    let (mut found, mut at, mut behind) = (Vec::new(), 0, None);
    loop {
        let start = next_tag(&source[at..]).map(|next| at + next);
        let text = &source[at..start.unwrap_or(source.len())];
        let ahead = start.map(|start| (start, Sign::of(source[start + 2..].chars().next())));
        let text = trimmed(source, text, behind, ahead);
        if !text.is_empty() {
            found.push(Token::Text(text));
        }
        let Some(start) = start else { return Some(found) };
        (at, behind) = take(source, start, &mut found)?;
    }
}

/// Where the next tag begins.
fn next_tag(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find('{').map(|at| from + at) {
        if matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Takes the tag at `start`: where it ends, and how it trims what follows (and whether it takes a line break).
fn take<'a>(source: &'a str, start: usize, found: &mut Vec<Token<'a>>) -> Option<(usize, Option<(Sign, bool)>)> {
    let rest = &source[start..];
    if rest.starts_with("{#") {
        let end = rest.find("#}")?;
        let sign = if end > 2 { Sign::of(rest[..end].chars().next_back()) } else { Sign::None };
        return Some((start + end + 2, Some((sign, true))));
    }
    let is_tag = rest.starts_with("{%");
    let end = code_end(rest, if is_tag { "%}" } else { "}}" });
    let inner = rest[2..end].strip_suffix(if is_tag { "%}" } else { "}}" })?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let sign = Sign::of(inner.chars().next_back());
    let code = if sign == Sign::None { inner } else { &inner[..inner.len() - 1] }.trim();
    if !is_tag {
        found.push(Token::Print(code));
        return Some((start + end, Some((sign, false))));
    }
    let name = code.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    if name == "raw" {
        return raw(source, start + end, sign, found);
    }
    found.push(Token::Tag { name, code });
    Some((start + end, Some((sign, true))))
}

/// Takes the text between `{% raw %}`, which ends at `start`, and its closing tag.
fn raw<'a>(
    source: &'a str,
    start: usize,
    sign: Sign,
    found: &mut Vec<Token<'a>>,
) -> Option<(usize, Option<(Sign, bool)>)> {
    let after = &source[start..];
    let length = raw_end(after);
    let closing = after[length..].strip_prefix("{%")?;
    let end = closing.find("%}")?;
    let mut text = &after[..length];
    text = match sign {
        Sign::None => text.strip_prefix('\n').unwrap_or(text),
        Sign::Minus => text.trim_start(),
        Sign::Plus => text,
    };
    text = match Sign::of(closing.chars().next()) {
        Sign::None => without_indent(text),
        Sign::Minus => text.trim_end(),
        Sign::Plus => text,
    };
    found.push(Token::Raw(text));
    let sign = Sign::of(closing[..end].chars().next_back());
    Some((start + length + 2 + end + 2, Some((sign, true))))
}

/// A text of `source` as the tags on its two sides leave it: the one `behind` it in the source, and the one `ahead`,
/// with where it begins.
fn trimmed<'a>(source: &'a str, text: &'a str, behind: Option<(Sign, bool)>, ahead: Option<(usize, Sign)>) -> &'a str {
    let text = match behind {
        Some((Sign::Minus, _)) => text.trim_start(),
        Some((Sign::None, true)) => text.strip_prefix('\n').unwrap_or(text),
        _ => text,
    };
    match ahead {
        Some((_, Sign::Minus)) => text.trim_end(),
        Some((start, Sign::None)) if !source[start..].starts_with("{{") => {
            let line = source[..start].rfind('\n').map_or(0, |line| line + 1);
            let is_alone = source[line..start].chars().all(char::is_whitespace);
            if is_alone { without_indent(text) } else { text }
        }
        _ => text,
    }
}

/// `text` without the white space of its last line, where that line has nothing else.
fn without_indent(text: &str) -> &str {
    let kept = text.trim_end_matches(|c: char| c.is_whitespace() && c != '\n');
    if kept.is_empty() || kept.ends_with('\n') { kept } else { text }
}

impl Token<'_> {
    /// Appends the token so that it trims nothing beside it.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Raw(text) => out.extend(["{%+ raw +%}", text, "{%+ endraw +%}"]),
            Self::Print(code) => out.extend(["{{ ", code, " }}"]),
            Self::Tag { code, .. } => out.extend(["{%+ ", code, " +%}"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::environment;

    /// What minijinja makes of `source`, and of its tokens written anew.
    fn both(source: &str) -> (String, String) {
        let mut again = String::new();
        tokens(source).unwrap().iter().for_each(|token| token.write(&mut again));
        again.push('\n');
        let environment = environment::new();
        let render = |text: &str| environment.render_str(text, minijinja::context! { x => 1 }).unwrap();
        (render(source), render(&again))
    }

    #[test]
    fn white_space_is_trimmed_as_minijinja_does() {
        let pieces = [
            "{% if x %}",
            "{%- if x -%}",
            "{%+ if x %}",
            "{% if x +%}",
            "{{ x }}",
            "{{- x -}}",
            "{# c #}",
            "{#- c -#}",
            "{%- raw %}",
            "\n",
            " ",
            "\t\n",
            "a",
            "  \n  ",
            "{ %}",
        ];
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..3000 {
            let (mut source, mut open) = (String::new(), 0);
            for _ in 0..random(16) {
                let piece = pieces[random(pieces.len())];
                source.push_str(piece);
                open += usize::from(piece.contains("if x"));
                if piece.contains("raw") {
                    source.push_str(["\n {{ x }} {%- endraw -%}", "b\n  {% endraw %}", " {%+ endraw +%}"][random(3)]);
                }
            }
            (0..open)
                .for_each(|_| source.push_str([" {% endif %}", "\n {%- endif -%}", "\n\n  {% endif %}\n"][random(3)]));
            let (expected, got) = both(&source);
            assert_eq!(got, expected, "{source:?}");
        }
    }
}
