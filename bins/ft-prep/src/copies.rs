//! Rows that came before, word for word or nearly.

use ft_table::shapes::{Fault, Reason};
use serde_json::{Map, Value, json};

use crate::dedup::{Digest, Place, Seen};
use crate::near::Index;

/// Looks for copies, as far as that is asked for.
pub struct Copies {
    seen: Option<Seen>,
    near: Option<Near>,
    /// Names of the inputs by their number.
    names: Vec<String>,
}

struct Near {
    index: Index,
    places: Vec<Place>,
}

/// Why a row gives no example, and what more there is to say of it.
pub struct LeftOut {
    pub fault: Fault,
    pub more: Map<String, Value>,
}

impl From<Fault> for LeftOut {
    fn from(fault: Fault) -> Self {
        Self { fault, more: Map::new() }
    }
}

impl Copies {
    /// `same`: word for word; `near`: at least as similar.
    pub fn new(same: bool, near: Option<f64>) -> Self {
        let near = near.map(|threshold| Near { index: Index::new(threshold), places: Vec::new() });
        Self { seen: same.then(Seen::default), near, names: Vec::new() }
    }

    /// The name of input `number`.
    pub fn set_name(&mut self, number: usize, name: &str) {
        if self.names.len() <= number {
            self.names.resize(number + 1, String::new());
        }
        if self.names[number].is_empty() {
            name.clone_into(&mut self.names[number]);
        }
    }

    /// The names by their numbers.
    pub fn into_names(self) -> Vec<String> {
        self.names
    }

    /// Fails for a row whose digest came before.
    pub fn refuse_same(&mut self, place: Place, digest: impl FnOnce() -> Digest) -> Result<(), LeftOut> {
        match self.seen.as_mut().and_then(|seen| seen.before(digest(), place)) {
            None => Ok(()),
            Some(before) => {
                let more = Map::from_iter([("same_as".to_owned(), self.place(before))]);
                Err(LeftOut { fault: Reason::Duplicate.into(), more })
            }
        }
    }

    /// Whether near copies are looked for.
    pub fn look_near(&self) -> bool {
        self.near.is_some()
    }

    /// Fails for a row that has one near it before; otherwise it is known from now on.
    pub fn refuse_near(&mut self, place: Place, shingles: &[u32]) -> Result<(), LeftOut> {
        let Some(near) = &mut self.near else {
            return Ok(());
        };
        let Some((number, similarity)) = near.index.nearest(shingles) else {
            near.index.insert(shingles.into());
            near.places.push(place);
            return Ok(());
        };
        let before = near.places[number];
        let similarity = (similarity * 1e4).round() / 1e4;
        let more = [("near_to".to_owned(), self.place(before)), ("similarity".to_owned(), similarity.into())];
        Err(LeftOut { fault: Reason::NearDuplicate.into(), more: Map::from_iter(more) })
    }

    fn place(&self, (number, row): Place) -> Value {
        json!({"file": self.names.get(number), "row": row})
    }
}
