//! A part of a file, of which every key is taken, or told of, or refused.

use super::given::Given;
use super::settings::FileSettings;
use crate::config::node::Node;
use crate::config::peers::Knob;

/// Names and values that stand together.
#[derive(Debug)]
pub struct Section {
    /// What stands before a key's name in a message: `fsdp_config.`, or nothing.
    prefix: String,
    left: Vec<(String, Node)>,
}

impl Section {
    /// Of names and values; of nothing where there are none.
    ///
    /// # Errors
    /// If it is something else, or a name stands there twice.
    pub fn new(prefix: &str, node: Node) -> Result<Self, String> {
        let pairs = match node {
            Node::Map(pairs) => pairs,
            Node::Null => Vec::new(),
            other => return Err(format!("{prefix} expected names and values, found {}", other.what())),
        };
        let twice = pairs.iter().enumerate().find(|(i, (name, _))| pairs[..*i].iter().any(|(other, _)| other == name));
        if let Some((_, (name, _))) = twice {
            return Err(format!("'{prefix}{name}' stands there twice"));
        }
        Ok(Self { prefix: prefix.to_owned(), left: pairs })
    }

    /// Whether nothing is said in it.
    pub fn is_empty(&self) -> bool {
        self.left.iter().all(|(_, node)| *node == Node::Null)
    }

    fn take(&mut self, key: &str) -> Option<Node> {
        let place = self.left.iter().position(|(name, _)| name == key)?;
        Some(self.left.remove(place).1).filter(|node| *node != Node::Null)
    }

    /// Whether something is said under this name, `auto` too.
    pub fn has(&self, key: &str) -> bool {
        self.left.iter().any(|(name, node)| name == key && *node != Node::Null)
    }

    /// The part of this name; empty where there is none.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn part(&mut self, key: &str) -> Result<Self, String> {
        Self::new(&format!("{}{key}.", self.prefix), self.take(key).unwrap_or(Node::Null))
    }

    /// The single value of a key, where it is there and not `auto`, which leaves it to our arguments.
    ///
    /// # Errors
    /// If it is no single value.
    pub fn word(&mut self, key: &str) -> Result<Option<Given>, String> {
        let Some(node) = self.take(key) else { return Ok(None) };
        let key = format!("{}{key}", self.prefix);
        match node.word() {
            Some(word) if word == "auto" || word.is_empty() => Ok(None),
            Some(word) => Ok(Some(Given { key, word })),
            None => Err(format!("{key}: expected one value, found {}", node.what())),
        }
    }

    /// [`Self::word`], for a number.
    ///
    /// # Errors
    /// If it is no number.
    pub fn number(&mut self, key: &str) -> Result<Option<(Given, f64)>, String> {
        let Some(given) = self.word(key)? else { return Ok(None) };
        match given.word.parse() {
            Ok(number) => Ok(Some((given, number))),
            Err(_) => Err(format!("{} is '{}', expected a number", given.key, given.word)),
        }
    }

    /// Whether a switch is on; none where nothing is said of it.
    ///
    /// # Errors
    /// If it is neither on nor off.
    pub fn switch(&mut self, key: &str) -> Result<Option<bool>, String> {
        let Some(given) = self.word(key)? else { return Ok(None) };
        match given.word.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(Some(true)),
            "false" | "no" | "off" | "0" => Ok(Some(false)),
            _ => Err(format!("{} is '{}', expected true or false", given.key, given.word)),
        }
    }

    /// Two numbers of a list.
    ///
    /// # Errors
    /// If it is no list of two numbers.
    pub fn pair(&mut self, key: &str) -> Result<Option<[Given; 2]>, String> {
        let key_of = format!("{}{key}", self.prefix);
        let wrong = |node: &Node| format!("{key_of}: expected a list of two numbers, found {}", node.what());
        match self.take(key) {
            None => Ok(None),
            Some(Node::Text(word)) if word == "auto" => Ok(None),
            Some(node) => {
                let Node::List(items) = &node else { return Err(wrong(&node)) };
                let given = |item: &Node| Some(Given { key: key_of.clone(), word: item.word()? });
                match items.iter().map(given).collect::<Option<Vec<_>>>().map(<[Given; 2]>::try_from) {
                    Some(Ok(two)) => Ok(Some(two)),
                    _ => Err(wrong(&node)),
                }
            }
        }
    }

    /// Every key that was not taken is one of the table: its words are told, or it is refused.
    ///
    /// # Errors
    /// If a key is unknown, or its value is none of those that are accepted.
    pub fn finish(self, table: &[Knob], found: &mut FileSettings) -> Result<(), String> {
        for (name, node) in self.left {
            let key = format!("{}{name}", self.prefix);
            let word = plain(&node);
            let Some(knob) = table.iter().find(|knob| knob.name == name) else {
                return Err(format!("unknown key '{key}'; leave it out if nothing follows from it"));
            };
            if node != Node::Null && word != "auto" && !knob.allows(&word) {
                return Err(format!("{key} {word} is refused: {}", knob.why));
            }
            found.note(format!("{key} {word}"), knob.why);
        }
        Ok(())
    }
}

/// A value as a table has it; names and values that say `enabled: false` are off.
fn plain(node: &Node) -> String {
    match node {
        Node::Map(pairs) if pairs.iter().any(|(name, said)| name == "enabled" && *said == Node::Bool(false)) => {
            "false".into()
        }
        Node::Null => "null".into(),
        node => node.word().unwrap_or_else(|| node.json()),
    }
}
