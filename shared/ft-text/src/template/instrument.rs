//! A template that tells, in one rendering, how it would render each beginning of the conversation.
//!
//! At the head of each turn of the loop over the messages stands a copy of the loop's body and of all that comes behind
//! the loop, in which this message is the last one: `messages` ends here, `loop.last` is true, namespaces are copies. What
//! the copy writes goes to [`super::beginnings`] and not into the text. So rendering the first `k` messages gives what was
//! written before turn `k - 1`, and behind it what the copy writes there, provided that nothing before has asked for a
//! message behind the first `k`, for their number, or for `add_generation_prompt`. Whether it has is seen while it renders.
//!
//! What cannot be seen then is refused here: a loop in a macro, a filter or another loop, or of a choice (`if`) of the
//! messages; `break`, `loop.length` and what else counts from the end; macros that know a namespace which is copied; values
//! that can be used once. Such templates render each beginning by itself.

use std::borrow::Cow;
use std::collections::BTreeSet;

use regex::Regex;

use super::beginnings::{ASKED, BEGINNING, FIRST, FROM, PROMPT, TURN, TURNS};
use super::blocks::{
    Parsed, attribute_set, code, identifiers, inside, loop_parts, mentions, outside_of_loops, quotes, takes_whole,
};
use super::tokens::{Token, tokens};

/// A name that nothing has.
const NOTHING: &str = "ft_nothing";

/// `source`, which [`super::rewrite`] has made, with the copies; `None` where it is of another form.
pub(super) fn instrument(source: &str) -> Option<String> {
    let tokens = tokens(source)?;
    let parsed = Parsed::of(&tokens)?;
    let names = parsed.names_of_messages();
    let (start, end) = parsed.main_loop(&names)?;
    let (before, body) = (&tokens[..start], &tokens[start + 1..end]);
    let behind = parsed.behind(end)?;
    let (target, items) = loop_parts(code(&tokens[start])?)?;
    is_fit(before, body, &behind, &target).then_some(())?;
    let copied = namespaces(before, body, &behind)?;
    let slices = Slices::of(&names)?;
    let write = |tokens: &[Token], out: &mut String| tokens.iter().for_each(|token| slices.write(token, out));

    let mut out = String::with_capacity(4 * source.len());
    write(before, &mut out);
    let items = slices.named(items);
    out.extend(["{%+ for ", &target, " in (", &items, ")|", TURNS, " +%}{{ ", TURN, "() }}{%+ if ", ASKED, "() +%}"]);
    out.extend(["{%+ filter ", BEGINNING, " +%}{%+ with add_generation_prompt = ", PROMPT, "()"]);
    names.iter().for_each(|name| out.extend([", ", name, " = ", name, "|", FIRST]));
    copied.iter().for_each(|name| out.extend([", ", name, " = namespace(", name, ")"]));
    out.push_str(" +%}{%+ with +%}");
    as_last(body, &mut out)?;
    out.push_str("{%+ endwith +%}");
    behind.iter().for_each(|token| token.write(&mut out));
    out.push_str("{%+ endwith +%}{%+ endfilter +%}{%+ endif +%}");
    write(&tokens[start + 1..], &mut out);
    // The parser takes a line break from the end.
    out.push('\n');
    Some(out)
}

/// What could make a copy differ from the rendering that it stands for without being seen.
fn is_fit(before: &[Token], body: &[Token], behind: &[Token], target: &str) -> bool {
    let mut targets = identifiers(target);
    targets.insert("loop".into());
    let once = used_once(before);
    let copied_set: BTreeSet<String> = body.iter().chain(behind).filter_map(attribute_set).collect();
    let in_macros = inside(before, "macro");
    let copied = || body.iter().chain(behind);
    let is_closed = |token: &Token| !matches!(token, Token::Tag { name: "macro" | "block" | "call", .. });
    !in_macros.iter().any(|token| attribute_set(token).is_some())
        // A macro keeps the namespace that it was made beside, and sees nothing of a copy.
        && !in_macros.iter().filter_map(code).any(|code| mentions(code, &copied_set))
        // Under another name it would be no copy.
        && !before.iter().chain(body).chain(behind).any(|token| takes_whole(value_of(token), &copied_set))
        && copied().all(is_closed)
        && !copied().filter_map(code).any(|code| mentions(code, &once))
        && !behind.iter().filter_map(code).any(|code| mentions(code, &identifiers(target)))
        && !outside_of_loops(behind).iter().filter_map(code).any(|code| mentions(code, &targets))
        && !outside_of_loops(body).iter().any(|token| matches!(token, Token::Tag { name: "break" | "continue", .. }))
}

/// The code of a token; of `set` what is set.
fn value_of<'a>(token: &Token<'a>) -> &'a str {
    match token {
        Token::Tag { name: "set", code } => code.split_once('=').map_or("", |(_, value)| value),
        other => code(other).unwrap_or_default(),
    }
}

/// Names that hold what can be iterated once: generators of `map` and its like.
fn used_once(tokens: &[Token]) -> BTreeSet<String> {
    let makes = ["map", "select", "reject", "selectattr", "rejectattr"];
    let sets = tokens.iter().filter_map(|token| match token {
        Token::Tag { name: "set", code } => code["set".len()..].split_once('='),
        _ => None,
    });
    let is_drained = |value: &str| {
        let last = value.rsplit('|').next().unwrap_or_default().trim();
        ["list", "join", "length", "count", "sort", "tojson"].iter().any(|name| last.starts_with(name))
    };
    sets.filter(|(_, value)| identifiers(value).iter().any(|word| makes.contains(&word.as_str())))
        .filter(|(_, value)| !is_drained(value))
        .map(|(target, _)| target.split('.').next().unwrap_or_default().trim().to_owned())
        .collect()
}

/// The namespaces made before the loop that the copies set something in; `None` where one is made elsewhere than seen.
fn namespaces(before: &[Token], body: &[Token], behind: &[Token]) -> Option<BTreeSet<String>> {
    let made = |tokens: &[Token]| -> BTreeSet<String> {
        let sets = tokens.iter().filter_map(|token| match token {
            Token::Tag { name: "set", code } => code["set".len()..].split_once('='),
            _ => None,
        });
        sets.filter(|(_, value)| value.trim_start().starts_with("namespace"))
            .map(|(target, _)| target.trim().to_owned())
            .collect()
    };
    let (outer, inner) = (made(before), made(body).union(&made(behind)).cloned().collect());
    let set: BTreeSet<String> = body.iter().chain(behind).filter_map(attribute_set).collect();
    let (copied, rest): (BTreeSet<_>, BTreeSet<_>) = set.into_iter().partition(|name| outer.contains(name));
    rest.is_subset(&inner).then_some(copied)
}

/// `messages[1:]` and its like, which go through a filter that knows messages.
struct Slices {
    pattern: Regex,
    replacement: String,
}

impl Slices {
    fn of(names: &BTreeSet<String>) -> Option<Self> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let pattern = Regex::new(&format!(r"\b({})\s*\[\s*(\d+)\s*:\s*\]", names.join("|"))).ok()?;
        Some(Self { pattern, replacement: format!("($1|{FROM}($2))") })
    }

    fn named<'a>(&self, code: &'a str) -> Cow<'a, str> {
        self.pattern.replace_all(code, &self.replacement)
    }

    fn write(&self, token: &Token, out: &mut String) {
        match token {
            Token::Tag { name, code } => Token::Tag { name, code: &self.named(code) }.write(out),
            Token::Print(code) => Token::Print(&self.named(code)).write(out),
            other => other.write(out),
        }
    }
}

/// Writes the loop's body as it is for the last message; `None` where it asks for what counts from the end.
fn as_last(body: &[Token], out: &mut String) -> Option<()> {
    let own = Regex::new(r"\bloop\b(?:\s*\.\s*(\w+))?").ok()?;
    let mut depth = 0_usize;
    // The choices and loops that a token stands in: what stands in the `else` of a loop is outside of it.
    let mut open: Vec<&str> = Vec::new();
    for token in body {
        let is = |wanted: &str| matches!(token, Token::Tag { name, .. } if *name == wanted);
        if is("else") && open.last() == Some(&"for") {
            return None;
        }
        if is("endif") || is("endfor") {
            open.pop();
        }
        open.extend(["if", "for"].into_iter().filter(|name| is(name)));
        depth = depth.saturating_sub(usize::from(is("endfor")));
        match (token, depth) {
            (Token::Tag { name, code }, 0) => Token::Tag { name, code: &last(code, &own)? }.write(out),
            (Token::Print(code), 0) => Token::Print(&last(code, &own)?).write(out),
            _ => token.write(out),
        }
        depth += usize::from(is("for"));
    }
    Some(())
}

fn last(code: &str, own: &Regex) -> Option<String> {
    let known = |found: regex::Captures| {
        let preceded = code[..found.get(0).map_or(0, |all| all.start())].ends_with('.');
        preceded
            || matches!(
                found.get(1).map(|name| name.as_str()),
                Some("first" | "last" | "index" | "index0" | "previtem" | "nextitem")
            )
    };
    let all_known = !quotes(code, "loop") && own.captures_iter(code).all(known);
    all_known.then(|| {
        let put = |found: &regex::Captures| match found.get(1).map(|name| name.as_str()) {
            Some("last") => "true".to_owned(),
            Some("nextitem") => NOTHING.to_owned(),
            _ => found[0].to_owned(),
        };
        own.replace_all(code, put).into_owned()
    })
}
