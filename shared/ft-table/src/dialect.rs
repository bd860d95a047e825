//! Which byte stands between the fields of delimited text.

use memchr::memchr;

/// Bytes that may stand between fields, those that come first win.
pub(crate) const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Records that are looked at.
const LOOKED_AT: usize = 32;

/// The delimiter of a text that begins with `head`, a header first; `usual` where nothing tells.
///
/// A delimiter that the header has cuts all records into the same number of fields; of several such the one that
/// cuts them into the most.
pub(crate) fn find_delimiter(head: &[u8], usual: u8) -> u8 {
    let mut candidates: Vec<(u8, Vec<usize>)> =
        DELIMITERS.iter().map(|&byte| (byte, field_counts(head, byte))).collect();
    candidates.retain(|(_, counts)| counts.first().is_some_and(|&fields| fields > 1));
    let is_even = |counts: &[usize]| counts.iter().all(|fields| *fields == counts[0]);
    let rank = |(byte, counts): &(u8, Vec<usize>)| {
        let like_header = counts.iter().filter(|fields| **fields == counts[0]).count();
        (is_even(counts), like_header * 100 / counts.len(), counts[0], *byte == usual)
    };
    // Of equals the last is taken.
    candidates.iter().rev().max_by_key(|candidate| rank(candidate)).map_or(usual, |(byte, _)| *byte)
}

/// Fields of the first records; the last one, which may be cut off, does not count where there are others.
fn field_counts(head: &[u8], delimiter: u8) -> Vec<usize> {
    let mut counts = Vec::new();
    let (mut fields, mut at, mut begins, mut line) = (1, 0, true, 0);
    while at < head.len() && counts.len() < LOOKED_AT {
        let byte = head[at];
        if begins && byte == b'"' {
            at = closing_quote(head, at);
            begins = false;
            continue;
        }
        begins = false;
        if byte == delimiter {
            fields += 1;
            begins = true;
        } else if byte == b'\n' {
            if !matches!(&head[line..at], b"" | b"\r") {
                counts.push(fields);
            }
            (fields, begins, line) = (1, true, at + 1);
        }
        at += 1;
    }
    if counts.is_empty() {
        counts.push(fields);
    }
    counts
}

/// One past the quote that closes the one at `at`.
fn closing_quote(head: &[u8], at: usize) -> usize {
    let mut from = at + 1;
    while let Some(quote) = memchr(b'"', &head[from.min(head.len())..]) {
        from += quote + 1;
        if head.get(from) != Some(&b'"') {
            return from;
        }
        from += 1;
    }
    head.len()
}

/// Excel's first line `sep=;`: the delimiter that it names, and the line's length.
pub(crate) fn separator_line(head: &[u8]) -> Option<(u8, usize)> {
    let rest = head.strip_prefix(b"sep=").or_else(|| head.strip_prefix(b"SEP="))?;
    let (&delimiter, rest) = rest.split_first()?;
    let end = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) };
    (end > 0).then_some((delimiter, 5 + end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> char {
        find_delimiter(text.as_bytes(), b',') as char
    }

    #[test]
    fn the_header_and_the_rows_tell() {
        assert_eq!(found("input,output\na;b;c,d\n"), ',');
        assert_eq!(found("input;output\n1,5;2,5\n\"a;b\";c\n"), ';');
        assert_eq!(found("input\toutput\na,b\tc\n"), '\t');
        assert_eq!(found("input|output\na,b|c\n"), '|');
        // The header alone would say both.
        assert_eq!(found("name, first;answer\na;b\nc;d\n"), ';');
        assert_eq!(found("\"a;b\",c\n1,2\n"), ',');
        assert_eq!(found("text\na;b\nc\n"), ',');
        assert_eq!(found("text\n\n"), ',');
        assert_eq!(found("a,b"), ',');
        assert_eq!(found("a;b\r\n\r\n\"x\r\n;\"\"\",\";y\r\n"), ';');
        assert_eq!(found("a,b\n\"never closed"), ',');
    }

    #[test]
    fn the_line_of_a_spreadsheet() {
        assert_eq!(separator_line(b"sep=;\r\na;b"), Some((b';', 7)));
        assert_eq!(separator_line(b"sep=|\na"), Some((b'|', 6)));
        assert_eq!(separator_line(b"sep=a,b\n"), None);
        assert_eq!(separator_line(b"separate;b\n"), None);
    }
}
