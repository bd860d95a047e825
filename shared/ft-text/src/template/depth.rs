//! How deep a template may nest. The parser descends once for each `elif`, and for each operator of a chain such as
//! `a.b.c` or `a ~ b ~ c`: without a bound a long one overflows the stack.

use minijinja::Environment;

use super::rewrite::code_end;
use crate::error::{Error, Result};

/// The most `elif` of a template; the longest of real ones has some tens.
const MOST_BRANCHES: usize = 1_000;
/// The most operators of one `{{ … }}` or `{% … %}`.
const MOST_OPERATORS: usize = 4_000;
/// Room for that many levels, whatever thread asks. The system gives only what is used.
const STACK_BYTES: usize = 128 << 20;

/// Refuses a template that is too deep to be parsed.
///
/// # Errors
/// [`Error::TemplateSyntax`] with the line.
pub(super) fn check(source: &str) -> Result<()> {
    let (mut branches, mut at) = (0, 0);
    while let Some(found) = source[at..].find('{') {
        let start = at + found;
        let rest = &source[start..];
        let closing = match rest.as_bytes().get(1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => {
                at = rest.find("#}").map_or(source.len(), |end| start + end + 2);
                continue;
            }
            _ => {
                at = start + 1;
                continue;
            }
        };
        at = start + code_end(rest, closing);
        let code = &source[start..at];
        branches += usize::from(is_branch(code));
        let fault = |reason: String| Error::TemplateSyntax { line: source[..start].matches('\n').count() + 1, reason };
        if branches > MOST_BRANCHES {
            return Err(fault(format!("more than {MOST_BRANCHES} 'elif'; write the choice as a look-up in a map")));
        }
        let operators = operators(code);
        if operators > MOST_OPERATORS {
            return Err(fault(format!("{operators} operators in one tag, expected {MOST_OPERATORS} at most")));
        }
    }
    Ok(())
}

fn is_branch(code: &str) -> bool {
    code.strip_prefix("{%").is_some_and(|tag| tag.trim_start_matches(['-', '+']).trim_start().starts_with("elif"))
}

/// Operators, calls and words like `and`, outside of texts in quotes.
fn operators(code: &str) -> usize {
    let (mut count, mut quote, mut escaped) = (0, None, false);
    let mut word = String::new();
    for c in code.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c.is_alphanumeric() || c == '_' => word.push(c),
            None => {
                count += usize::from(matches!(word.as_str(), "and" | "or" | "not" | "in" | "is" | "if"));
                word.clear();
                count += usize::from("|.~+-*/%=<>([".contains(c));
                quote = matches!(c, '\'' | '"').then_some(c);
            }
        }
    }
    count
}

/// Adds a template to `environment`, on a thread whose stack holds the deepest that [`check`] lets through.
pub(super) fn add(environment: &mut Environment<'static>, name: &'static str, source: String) -> Result<()> {
    let parse = || environment.add_template_owned(name, source);
    let parsed = std::thread::scope(|scope| {
        let parser = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, parse);
        parser.map(std::thread::ScopedJoinHandle::join)
    });
    let fault = |line, reason| Error::TemplateSyntax { line, reason };
    match parsed {
        Ok(Ok(parsed)) => parsed.map_err(|error| {
            let reason = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            fault(error.line().unwrap_or(1), reason)
        }),
        Ok(Err(_)) => Err(fault(1, "the parser failed over it".into())),
        Err(error) => Err(fault(1, format!("no thread to parse it: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use crate::ChatTemplate;

    fn told(source: &str) -> String {
        ChatTemplate::new(source, &[]).unwrap_err().to_string()
    }

    #[test]
    fn a_template_of_16000_elif_is_refused_with_its_line() {
        let source = format!("{{% if a %}}\n{}{{% endif %}}", "{%- elif a == 1 %}x\n".repeat(16_000));
        assert_eq!(
            told(&source),
            "chat template: line 1002: more than 1000 'elif'; write the choice as a look-up in a map"
        );
        let fine = format!("{{% if a %}}{}{{% endif %}}", "{% elif a == 1 %}x".repeat(1_000));
        ChatTemplate::new(&fine, &[]).unwrap();
    }

    #[test]
    fn long_chains_of_any_operator_are_refused_and_shorter_ones_taken() {
        for (begin, link) in [
            ("a", ".b"),
            ("a", " ~ a"),
            ("a", " + 1"),
            ("a", "|upper"),
            ("a", "[0]"),
            ("a", "()"),
            ("", "not "),
            ("a", " and a"),
            ("a", " or a"),
            ("", "("),
            ("", "-"),
            ("a", " is defined"),
            ("a", " if a"),
        ] {
            let text = told(&format!("x\n{{{{ {begin}{} }}}}", link.repeat(100_000)));
            assert!(text.contains("line 2: ") && text.contains("expected 4000 at most"), "{link}: {text}");
            // Right or wrong to the parser, but no overflow.
            let _ = ChatTemplate::new(&format!("{{{{ {begin}{} }}}}", link.repeat(1_900)), &[]);
        }
        ChatTemplate::new(&format!("{{{{ '{}' }}}}", ".".repeat(100_000)), &[]).unwrap();
    }

    #[test]
    fn deep_blocks_are_refused_by_the_parser() {
        for (open, close) in [("{% if a %}", "{% endif %}"), ("{% for a in b %}", "{% endfor %}")] {
            let text = told(&format!("{}{}", open.repeat(20_000), close.repeat(20_000)));
            assert!(text.contains("recursion"), "{text}");
        }
    }
}
