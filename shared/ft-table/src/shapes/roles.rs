//! Who speaks, under the names that data sets have for it.

use std::borrow::Cow;
use std::str::FromStr;

/// The names of roles, as `role` and ShareGPT's `from` have them.
const KNOWN: [(&str, &str); 18] = [
    ("system", SYSTEM),
    ("developer", "developer"),
    ("user", USER),
    ("human", USER),
    ("prompter", USER),
    ("assistant", ASSISTANT),
    ("gpt", ASSISTANT),
    ("chatgpt", ASSISTANT),
    ("model", ASSISTANT),
    ("bot", ASSISTANT),
    ("ai", ASSISTANT),
    ("function_call", CALLER),
    ("tool_call", CALLER),
    ("tool", TOOL),
    ("function", TOOL),
    ("observation", TOOL),
    ("tool_response", TOOL),
    ("ipython", TOOL),
];

pub(super) const SYSTEM: &str = "system";
pub(super) const USER: &str = "user";
pub(super) const ASSISTANT: &str = "assistant";
pub(super) const TOOL: &str = "tool";
/// The assistant, whose content is a call as JSON (ShareGPT with tools).
pub(super) const CALLER: &str = "assistant, calling";

/// The table of roles: the known names, and those that the user adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// Names in lower case and what they mean.
    added: Vec<(String, String)>,
}

impl Roles {
    /// Adds a name; it goes before a known one.
    pub fn add(&mut self, from: &str, to: &str) {
        self.added.push((from.to_lowercase(), to.to_owned()));
    }

    /// The role of a name in any case; none where it is not known.
    pub(super) fn role(&self, name: &str) -> Option<Cow<'static, str>> {
        let lower = name.trim().to_lowercase();
        if let Some((_, to)) = self.added.iter().find(|(from, _)| *from == lower) {
            return Some(known(to).map_or_else(|| Cow::Owned(to.clone()), Cow::Borrowed));
        }
        known(&lower).map(Cow::Borrowed)
    }

    /// All names, for messages.
    pub(super) fn names(&self) -> String {
        let added = self.added.iter().map(|(from, _)| from.as_str());
        added.chain(KNOWN.iter().map(|(name, _)| *name)).collect::<Vec<_>>().join(", ")
    }
}

fn known(name: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, role)| *role)
}

/// `FROM=TO,FROM=TO`.
impl FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut roles = Self::default();
        for pair in text.split(',') {
            match pair.split_once('=').map(|(from, to)| (from.trim(), to.trim())) {
                Some((from, to)) if !from.is_empty() && !to.is_empty() => roles.add(from, to),
                _ => return Err(format!("'{pair}' is no FROM=TO, such as narrator=system")),
            }
        }
        Ok(roles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_case_and_those_of_the_user() {
        let roles: Roles = "Narrator=system, expert=gpt,critic=critic".parse().unwrap();
        for (name, role) in [
            ("Human", "user"),
            ("NARRATOR", "system"),
            ("expert", "assistant"),
            ("critic", "critic"),
            ("GPT", ASSISTANT),
        ] {
            assert_eq!(roles.role(name).as_deref(), Some(role), "{name}");
        }
        assert_eq!(roles.role("nobody"), None);
        assert!("narrator".parse::<Roles>().is_err());
        assert!("=user".parse::<Roles>().is_err());
    }
}
