//! Examples that came before, word for word.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ft_io::Sha256;
use ft_table::shapes::{ChatMessage, Example};

/// Digests of all examples so far and where they stand, 32 bytes each.
#[derive(Default)]
pub struct Seen(HashMap<[u8; 16], Place>);

/// An input's number, and a line or row in it.
pub type Place = (usize, u64);

impl Seen {
    /// Where an example with this digest was before; if it is the first, it is known from now on.
    pub fn before(&mut self, digest: Digest, place: Place) -> Option<Place> {
        let mut key = [0; 16];
        key.copy_from_slice(&digest.0.digest()[..16]);
        match self.0.entry(key) {
            Entry::Occupied(entry) => Some(*entry.get()),
            Entry::Vacant(entry) => {
                entry.insert(place);
                None
            }
        }
    }
}

/// The digest of an example while it is made: every text behind its length, and before that its name where it is not one
/// that all messages have, so that no two examples read alike.
pub struct Digest(Sha256);

/// Stands where a length could: no text is as long.
const FIELD: u64 = 1 << 63;

impl Digest {
    /// Of an example without messages.
    pub fn new() -> Self {
        Self(Sha256::new())
    }

    /// Adds a message that is text and nothing else.
    pub fn message(&mut self, role: &str, content: &str) {
        self.text(role);
        self.text(content);
    }

    /// Of a whole example.
    pub fn of(example: &Example) -> Self {
        let mut digest = Self::new();
        example.messages.iter().for_each(|message| digest.whole_message(message));
        digest.field(10, example.text.as_deref());
        digest.field(11, example.tools.as_ref().map(ToString::to_string).as_deref());
        digest.field(12, example.chat_template_kwargs.as_ref().map(ToString::to_string).as_deref());
        digest
    }

    fn whole_message(&mut self, message: &ChatMessage) {
        self.message(&message.role, message.content.as_deref().unwrap_or_default());
        self.field(0, message.content.is_none().then_some(""));
        self.field(1, message.name.as_deref());
        self.field(2, message.reasoning_content.as_deref());
        self.field(3, message.tool_calls.as_ref().map(ToString::to_string).as_deref());
        self.field(4, message.tool_call_id.as_deref());
        self.field(5, message.train.map(|flag| if flag { "1" } else { "0" }));
    }

    fn field(&mut self, number: u64, text: Option<&str>) {
        if let Some(text) = text {
            self.0.update((FIELD + number).to_le_bytes());
            self.text(text);
        }
    }

    fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_digest_whichever_way_a_row_came_and_others_for_others() {
        let example = Example {
            messages: vec![ChatMessage::new("user", "q"), ChatMessage::new("assistant", "a")],
            ..Example::default()
        };
        let mut pair = Digest::new();
        pair.message("user", "q");
        pair.message("assistant", "a");
        let mut seen = Seen::default();
        assert_eq!(seen.before(pair, (0, 7)), None);
        assert_eq!(seen.before(Digest::of(&example), (1, 8)), Some((0, 7)));
        let changes: [fn(&mut Example); 5] = [
            |e| e.messages[1].content = None,
            |e| e.messages[1].name = Some("a".into()),
            |e| e.messages[1].reasoning_content = Some("a".into()),
            |e| e.messages[1].train = Some(false),
            |e| e.tools = Some("a".into()),
        ];
        for change in changes {
            let mut other = example.clone();
            change(&mut other);
            assert_eq!(seen.before(Digest::of(&other), (0, 9)), None);
        }
    }
}
