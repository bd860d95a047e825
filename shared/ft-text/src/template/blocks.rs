//! The blocks of a template: where each ends, what stands in it, and which names its code has.

use std::collections::BTreeSet;

use regex::Regex;

use super::lazy::ITERABLE;
use super::rewrite::{text_length, words};
use super::tokens::Token;

/// The variable with the conversation.
const MESSAGES: &str = "messages";

/// The code of a tag or of what is printed.
pub(super) fn code<'a>(token: &Token<'a>) -> Option<&'a str> {
    match token {
        Token::Tag { code, .. } | Token::Print(code) => Some(code),
        Token::Text(_) | Token::Raw(_) => None,
    }
}

/// The tokens with where each block ends and in which it stands.
pub(super) struct Parsed<'a> {
    tokens: &'a [Token<'a>],
    /// Of the tag that opens a block, the one that closes it.
    ends: Vec<Option<usize>>,
    /// The tags that open the blocks that a token stands in, outermost first.
    around: Vec<Vec<usize>>,
}

/// Whether the tag opens a block: `set` does without a value.
fn opens(name: &str, code: &str) -> bool {
    match name {
        "if" | "for" | "with" | "filter" | "macro" | "call" | "block" | "autoescape" => true,
        "set" => !code.contains('='),
        _ => false,
    }
}

impl<'a> Parsed<'a> {
    pub(super) fn of(tokens: &'a [Token<'a>]) -> Option<Self> {
        let mut open: Vec<usize> = Vec::new();
        let (mut ends, mut around) = (vec![None; tokens.len()], Vec::with_capacity(tokens.len()));
        for (i, token) in tokens.iter().enumerate() {
            let Token::Tag { name, code } = token else {
                around.push(open.clone());
                continue;
            };
            if let Some(opened) = name.strip_prefix("end") {
                let start = open.pop()?;
                matches!(tokens[start], Token::Tag { name, .. } if name == opened).then_some(())?;
                ends[start] = Some(i);
            }
            around.push(open.clone());
            if opens(name, code) {
                open.push(i);
            }
        }
        open.is_empty().then_some(Self { tokens, ends, around })
    }

    /// `messages`, and what is set to something made of it.
    pub(super) fn names_of_messages(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::from([MESSAGES.to_owned()]);
        for token in self.tokens {
            if let Token::Tag { name: "set", code } = token
                && let Some((target, value)) = code["set".len()..].split_once('=')
                && is_name(target.trim())
                && mentions(value, &names)
            {
                names.insert(target.trim().to_owned());
            }
        }
        names
    }

    /// The last loop over the messages that stands in no block but choices, from its first tag to its last.
    pub(super) fn main_loop(&self, names: &BTreeSet<String>) -> Option<(usize, usize)> {
        // As [`super::rewrite`] leaves the loop.
        let plain = Regex::new(&format!(r"^\(\s*(\w+)\s*(?:\[\s*\d+\s*:\s*\])?\s*\)\|{ITERABLE}$")).ok()?;
        let is_choice = |&at: &usize| matches!(self.tokens[at], Token::Tag { name: "if", .. });
        (0..self.tokens.len()).rev().find_map(|i| {
            let Token::Tag { name: "for", code } = self.tokens[i] else { return None };
            let items = loop_parts(code).and_then(|(_, items)| plain.captures(items))?;
            let end = self.ends[i].filter(|_| self.around[i].iter().all(is_choice) && names.contains(&items[1]))?;
            let has_else = (i..end).any(|at| {
                self.around[at].last() == Some(&i) && matches!(self.tokens[at], Token::Tag { name: "else", .. })
            });
            (!has_else).then_some((i, end))
        })
    }

    /// What is rendered after the block that ends at `end`: the rest of the choices that it stands in, and of the template.
    pub(super) fn behind(&self, end: usize) -> Option<Vec<Token<'a>>> {
        let (mut found, mut at) = (Vec::new(), end + 1);
        while at < self.tokens.len() {
            // A tag that ends or turns a choice which began before the loop.
            let choice = self.around[at].last().copied().filter(|&start| start < end);
            match self.tokens[at] {
                Token::Tag { name: "else" | "elif", .. } if choice.is_some() => at = self.ends[choice?]?,
                Token::Tag { name: "endif", .. } if !self.opens_behind(at, end) => {}
                token => found.push(token),
            }
            at += 1;
        }
        Some(found)
    }

    /// Whether the block that the tag at `at` closes begins behind `end`.
    fn opens_behind(&self, at: usize, end: usize) -> bool {
        self.ends.iter().position(|&closes| closes == Some(at)).is_some_and(|start| start > end)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// A piece of code: a text in quotes, a name (and whether it is an attribute's), or one character.
enum Piece<'a> {
    Text(&'a str),
    Name { name: &'a str, is_attribute: bool, behind: &'a str },
    Other,
}

fn pieces(code: &str) -> impl Iterator<Item = Piece<'_>> {
    let (mut rest, mut last) = (code, ' ');
    std::iter::from_fn(move || {
        let c = rest.chars().next()?;
        let is_attribute = last == '.';
        last = c;
        let length = match c {
            '\'' | '"' => text_length(rest),
            c if c.is_alphabetic() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            _ => c.len_utf8(),
        };
        let (piece, behind) = rest.split_at(length);
        rest = behind;
        Some(match c {
            '\'' | '"' => Piece::Text(piece),
            c if c.is_alphabetic() || c == '_' => Piece::Name { name: piece, is_attribute, behind },
            _ => Piece::Other,
        })
    })
}

/// The names in `code`, attributes and what stands in quotes left out.
pub(super) fn identifiers(code: &str) -> BTreeSet<String> {
    let name = |piece| match piece {
        Piece::Name { name, is_attribute: false, .. } => Some(name.to_owned()),
        _ => None,
    };
    pieces(code).filter_map(name).collect()
}

/// Whether `code` takes one of `names` whole, and not one of its attributes or items.
pub(super) fn takes_whole(code: &str, names: &BTreeSet<String>) -> bool {
    let is_one = |name: &str, behind: &str| names.contains(name) && !behind.trim_start().starts_with(['.', '[']);
    pieces(code).any(|piece| matches!(piece, Piece::Name { name, is_attribute: false, behind } if is_one(name, behind)))
}

/// Whether a text in quotes holds `word`.
pub(super) fn quotes(code: &str, word: &str) -> bool {
    pieces(code).any(|piece| matches!(piece, Piece::Text(text) if text.contains(word)))
}

pub(super) fn mentions(code: &str, names: &BTreeSet<String>) -> bool {
    !identifiers(code).is_disjoint(names)
}

/// `x` and `y` of `for x in y`; none of a loop that chooses or calls itself.
pub(super) fn loop_parts(code: &str) -> Option<(String, &str)> {
    let words = words(code);
    let (at, _) = *words.iter().find(|(_, word)| *word == "in")?;
    let is_plain = !words.iter().any(|&(place, word)| place > at && matches!(word, "if" | "recursive"));
    is_plain.then(|| (code["for".len()..at].trim().to_owned(), code[at + 2..].trim()))
}

/// The tokens in blocks of `kind`, the tags that open them included.
pub(super) fn inside<'a>(tokens: &[Token<'a>], kind: &str) -> Vec<Token<'a>> {
    let (mut found, mut depth) = (Vec::new(), 0_usize);
    for token in tokens {
        let is = |wanted: &str| matches!(token, Token::Tag { name, .. } if *name == wanted);
        depth += usize::from(is(kind));
        if depth > 0 {
            found.push(*token);
        }
        depth = depth.saturating_sub(usize::from(is(&format!("end{kind}"))));
    }
    found
}

/// The tokens in no loop; a loop's own tag is read outside of it.
pub(super) fn outside_of_loops<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let (mut found, mut depth) = (Vec::new(), 0_usize);
    for token in tokens {
        let is = |wanted: &str| matches!(token, Token::Tag { name, .. } if *name == wanted);
        depth = depth.saturating_sub(usize::from(is("endfor")));
        if depth == 0 {
            found.push(*token);
        }
        depth += usize::from(is("for"));
    }
    found
}

/// The name whose attribute the tag sets.
pub(super) fn attribute_set(token: &Token) -> Option<String> {
    let Token::Tag { name: "set", code } = token else { return None };
    let target = code["set".len()..].split('=').next()?;
    target.split_once('.').map(|(name, _)| name.trim().to_owned())
}
