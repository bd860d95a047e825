//! Python's `str`, as far as templates use it.

/// `str.isspace` of one character: Unicode's white space and the four separators of
/// ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.strip`, `lstrip` and `rstrip`; without `chars`, white space goes.
pub(super) fn strip<'a>(text: &'a str, chars: Option<&str>, left: bool, right: bool) -> &'a str {
    let goes = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if left { text.trim_start_matches(goes) } else { text };
    if right { text.trim_end_matches(goes) } else { text }
}

/// The words between white space.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// `str.split` at white space, at most `limit` times.
pub(super) fn split_space(text: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == limit {
            parts.push(rest);
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    parts
}

/// `str.rsplit` at white space, at most `limit` times.
pub(super) fn rsplit_space(text: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == limit {
            parts.push(rest);
            break;
        }
        let start = rest.rfind(is_space).map_or(0, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8));
        parts.push(&rest[start..]);
        rest = rest[..start].trim_end_matches(is_space);
    }
    parts.reverse();
    parts
}

/// `str.splitlines`.
pub(super) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_end).unwrap_or(rest.len());
        let length =
            if rest[end..].starts_with("\r\n") { 2 } else { rest[end..].chars().next().map_or(0, char::len_utf8) };
        out.push(&rest[..if keep_ends { end + length } else { end }]);
        rest = &rest[end + length..];
    }
    out
}

/// `str.title`: a letter after no letter is a capital.
pub(super) fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            push_title(&mut out, c);
        }
        inside = c.is_alphabetic();
    }
    out
}

/// Unicode's title case, which differs from capitals for the digraphs of Croatian and for
/// letters of which two capitals come.
fn push_title(out: &mut String, c: char) {
    match c {
        '\u{1c4}'..='\u{1c6}' => out.push('\u{1c5}'),
        '\u{1c7}'..='\u{1c9}' => out.push('\u{1c8}'),
        '\u{1ca}'..='\u{1cc}' => out.push('\u{1cb}'),
        '\u{1f1}'..='\u{1f3}' => out.push('\u{1f2}'),
        c => {
            let mut capitals = c.to_uppercase();
            out.extend(capitals.next());
            out.extend(capitals.flat_map(char::to_lowercase));
        }
    }
}

/// `str.capitalize`.
pub(super) fn capitalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    if let Some(first) = chars.next() {
        push_title(&mut out, first);
        out.push_str(&chars.as_str().to_lowercase());
    }
    out
}

/// `str.swapcase`.
pub(super) fn swap_case(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect::<Vec<_>>() })
        .collect()
}

/// How many characters are missing to `width`.
fn missing(text: &str, width: usize) -> usize {
    width.saturating_sub(text.chars().count())
}

/// `text` with `left` and `right` times `fill` around it.
fn padded(text: &str, left: usize, right: usize, fill: char) -> String {
    let fill = |count| std::iter::repeat_n(fill, count);
    fill(left).chain(text.chars()).chain(fill(right)).collect()
}

/// `str.ljust`.
pub(super) fn left(text: &str, width: usize, fill: char) -> String {
    padded(text, 0, missing(text, width), fill)
}

/// `str.rjust`.
pub(super) fn right(text: &str, width: usize, fill: char) -> String {
    padded(text, missing(text, width), 0, fill)
}

/// `str.center`, which puts an odd one left if `width` is odd.
pub(super) fn center(text: &str, width: usize, fill: char) -> String {
    let count = missing(text, width);
    let left = count / 2 + (count & width & 1);
    padded(text, left, count - left, fill)
}

/// `str.zfill`: zeros behind the sign.
pub(super) fn zero_fill(text: &str, width: usize) -> String {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = &text[..text.len() - digits.len()];
    format!("{sign}{}", right(digits, width.saturating_sub(sign.len()), '0'))
}

/// `str.expandtabs`.
pub(super) fn expand_tabs(text: &str, size: usize) -> String {
    let mut column = 0;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\t' {
            let count = size.checked_rem(size).map_or(0, |_| size - column % size);
            out.extend(std::iter::repeat_n(' ', count));
            column += count;
        } else {
            out.push(c);
            column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
        }
    }
    out
}

/// The part of `text` that Python calls `text[start:end]`, in characters, and the number
/// of characters before it; `None` if it begins behind the end.
pub(super) fn part(text: &str, start: Option<i64>, end: Option<i64>) -> Option<(usize, &str)> {
    let count = text.chars().count();
    let place = |index: i64| {
        usize::try_from(if index < 0 { index.saturating_add_unsigned(count as u64) } else { index }).unwrap_or(0)
    };
    let start = start.map_or(0, place);
    let end = end.map_or(count, place).min(count);
    if start > count {
        return None;
    }
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    Some((start, &text[byte(start)..byte(end.max(start))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Each was asked of Python 3.11.
    #[test]
    fn as_python_has_it() {
        assert_eq!(rsplit_space(" a b  c ", 1), [" a b", "c"]);
        assert_eq!(split_space(" a b  c ", 1), ["a", "b  c "]);
        assert_eq!(lines("a\r\n\nb", true), ["a\r\n", "\n", "b"]);
        assert_eq!((zero_fill("--7", 5), zero_fill("+7", 4)), ("-00-7".into(), "+007".into()));
        assert_eq!((center("ab", 5, '.'), center("abc", 6, '.')), ("..ab.".into(), ".abc..".into()));
        assert_eq!(title("ǆa ßa 1a_b"), "ǅa Ssa 1A_B");
        assert_eq!(part("abc", Some(-2), None), Some((1, "bc")));
        assert_eq!((part("abc", Some(4), None), part("abc", Some(2), Some(1))), (None, Some((2, ""))));
        assert_eq!(expand_tabs("a\tb\n\tc", 4), "a   b\n    c");
    }
}
