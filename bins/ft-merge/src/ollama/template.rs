//! A chat template in Ollama's language (Go's `text/template`), found by asking the model's own what it writes.
//!
//! Conversations are rendered with marks for what is said. What stands between the marks is what the template adds; if
//! other conversations come out as these parts put together, the template is nothing but them, and is written so. A
//! template that does more, with tools, dates, or text that depends on later turns, is not.

use ft_text::{Message, TextModel};

/// Texts that no template has.
const MARKS: [&str; 4] = ["\u{2063}S\u{2063}", "\u{2063}U\u{2063}", "\u{2063}A\u{2063}", "\u{2063}V\u{2063}"];

/// What a template puts around what is said.
struct Parts {
    /// Before a system text, and after it; none if the template takes none.
    system: Option<(String, String)>,
    /// The beginning where there is no system text.
    beginning: String,
    /// Before what a user says.
    user: String,
    /// After it, where the answer begins.
    answer: String,
    /// After an answer that is not the last.
    after: String,
}

/// The template of `text`; what a user says is put between `around`.
///
/// # Errors
/// Why there is none.
pub fn of(text: &TextModel, around: Option<(String, String)>) -> Result<String, String> {
    let template = text.template.as_ref().ok_or("the model has no chat template")?;
    if template.tells_the_date() {
        return Err("the chat template tells the date".into());
    }
    let render = |turns: &[(&str, &str)]| {
        let messages: Vec<Message> = turns.iter().map(|(role, text)| Message::new(*role, *text)).collect();
        template.render(&messages, true).map(|rendering| rendering.text).map_err(|e| e.to_string())
    };
    let mut parts = Parts::find(render)?;
    parts.check(render)?;
    // Ollama's runner puts the begin-of-sequence token before the text itself, where the tokenizer does.
    let adds = text.tokenizer.encode("a", true).ok().and_then(|ids| ids.get_ids().first().copied());
    if let Some(bos) = text.bos.as_ref().filter(|bos| adds == Some(bos.id)) {
        parts.drop_start(&bos.text);
    }
    Ok(parts.to_go(around.unwrap_or_default()))
}

impl Parts {
    fn find(render: impl Fn(&[(&str, &str)]) -> Result<String, String>) -> Result<Self, String> {
        let other = || "the chat template changes what is said".to_owned();
        let [s, u, a, v] = MARKS;
        let alone = render(&[("user", u)])?;
        let (before_user, answer) = alone.split_once(u).ok_or_else(other)?;
        let turns = render(&[("user", u), ("assistant", a), ("user", v)])?;
        let between = turns.split_once(a).and_then(|(_, rest)| rest.split_once(v)).map(|(between, _)| between);
        let between = between.ok_or_else(other)?;
        let with_system = render(&[("system", s), ("user", u)]).ok();
        let system = with_system.as_ref().and_then(|text| {
            let (before, rest) = text.split_once(s)?;
            Some((before, rest.split_once(u)?.0))
        });
        // What all three end in comes before every message of a user.
        let mut user = common_end(before_user, between);
        if let Some((_, between)) = system {
            user = common_end(user, between);
        }
        let without = |text: &str| text.strip_suffix(user).unwrap_or(text).to_owned();
        Ok(Self {
            system: system.map(|(before, between)| (before.to_owned(), without(between))),
            beginning: without(before_user),
            user: user.to_owned(),
            answer: answer.to_owned(),
            after: without(between),
        })
    }

    /// Whether other conversations are nothing but the parts.
    fn check(&self, render: impl Fn(&[(&str, &str)]) -> Result<String, String>) -> Result<(), String> {
        let long: [(&str, &str); 5] = [
            ("user", "One?"),
            ("assistant", "1."),
            ("user", "Two?\nLines."),
            ("assistant", "2"),
            ("user", "{x} \"y\""),
        ];
        let system = ("system", "Be kind.");
        for turns in [long[..1].to_vec(), long[..3].to_vec(), long.to_vec()] {
            let with_system: Vec<_> = std::iter::once(system).chain(turns.clone()).collect();
            for turns in std::iter::once(turns).chain(self.system.is_some().then_some(with_system)) {
                if render(&turns)? != self.put_together(&turns) {
                    return Err("the chat template does more than to put text around what is said".into());
                }
            }
        }
        Ok(())
    }

    fn put_together(&self, turns: &[(&str, &str)]) -> String {
        let mut text = String::new();
        for (i, (role, said)) in turns.iter().enumerate() {
            let system = self.system.as_ref().filter(|_| *role == "system");
            match (system, i) {
                (Some((before, after)), _) => text += &[before.as_str(), said, after].concat(),
                (None, 0) => text.push_str(&self.beginning),
                _ => {}
            }
            match *role {
                "user" => text += &[self.user.as_str(), said, &self.answer].concat(),
                "assistant" => text += &[said, self.after.as_str()].concat(),
                _ => {}
            }
        }
        text
    }

    fn drop_start(&mut self, bos: &str) {
        let starts = self.system.iter_mut().map(|(before, _)| before).chain([&mut self.beginning]);
        for text in starts {
            if let Some(rest) = text.strip_prefix(bos) {
                *text = rest.to_owned();
            }
        }
    }

    /// In Go's words. Texts stand in quotes, so that no space of them is trimmed.
    fn to_go(&self, (before, after): (String, String)) -> String {
        let beginning = literal(&self.beginning);
        let start = match &self.system {
            Some((before, after)) => {
                format!(
                    "{{{{ if .System }}}}{}{{{{ .System }}}}{}{{{{ else }}}}{beginning}{{{{ end }}}}",
                    literal(before),
                    literal(after)
                )
            }
            None => beginning,
        };
        let user = format!(
            "{}{{{{ .Content }}}}{}",
            literal(&format!("{}{before}", self.user)),
            literal(&format!("{after}{}", self.answer))
        );
        let assistant = format!("{{{{ .Content }}}}{}", literal(&self.after));
        format!(
            "{start}{{{{ range .Messages }}}}{{{{ if eq .Role \"user\" }}}}{user}\
             {{{{ else if eq .Role \"assistant\" }}}}{assistant}{{{{ end }}}}{{{{ end }}}}"
        )
    }
}

/// What both end in, at a whole character.
fn common_end<'a>(a: &'a str, b: &str) -> &'a str {
    let same =
        a.chars().rev().zip(b.chars().rev()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum::<usize>();
    &a[a.len() - same..]
}

/// A text as Go reads it; nothing for none.
fn literal(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut out = String::from("{{ \"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.extend(["\\u".to_owned(), format!("{:04x}", u32::from(c))]),
            c => out.push(c),
        }
    }
    out.push_str("\" }}");
    out
}
