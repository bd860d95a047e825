//! What of an input is not read, told at its end.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use ft_table::{Data, Rows};

/// Names that are told; where there are more, they are counted.
const TOLD: usize = 16;

/// Columns, keys and fields of one input that are not read.
#[derive(Default)]
pub struct Notes {
    /// Columns that the beginning has or that are read.
    known: HashSet<String>,
    unread: Vec<String>,
    late: Found,
    fields: Found,
}

/// Names, in how many rows they are, and where they are first.
#[derive(Default)]
struct Found {
    names: BTreeMap<String, (u64, String)>,
    others: u64,
}

impl Notes {
    /// For an input whose beginning has the columns `present`, of which those of `read` are read, and those that may yet
    /// come.
    pub fn new<'a>(present: &[String], read: impl Iterator<Item = &'a String>) -> Self {
        let read: HashSet<String> = read.cloned().collect();
        let unread = present.iter().filter(|column| !read.contains(*column)).cloned().collect();
        let known = read.into_iter().chain(present.iter().cloned()).collect();
        Self { known, unread, ..Self::default() }
    }

    /// Looks for keys that the beginning of the input does not have.
    pub fn look_at(&mut self, rows: &Rows) {
        let Data::Objects(objects) = rows.data() else {
            return;
        };
        for (row, object) in objects.iter().enumerate() {
            for (key, value) in object {
                if !value.is_null() && !self.known.contains(key) {
                    self.late.add(key, || rows.place(row));
                }
            }
        }
    }

    /// Fields of the messages in a row that are not read.
    pub fn add_fields(&mut self, names: &[String], rows: &Rows, row: usize) {
        for (i, name) in names.iter().enumerate() {
            if !names[..i].contains(name) {
                self.fields.add(name, || rows.place(row));
            }
        }
    }

    /// Says all of it.
    pub fn tell(&self, name: &str) {
        if !self.unread.is_empty() {
            let mut columns: Vec<_> = self.unread.iter().take(TOLD).map(|column| format!("'{column}'")).collect();
            if self.unread.len() > TOLD {
                columns.push(format!("and {} more", self.unread.len() - TOLD));
            }
            tracing::info!("{name}: columns that are not read: {}", columns.join(", "));
        }
        if let Some(told) = self.fields.told() {
            tracing::warn!("{name}: fields of messages that are not read: {told}");
        }
        if let Some(told) = self.late.told() {
            tracing::warn!("{name}: not read, for the beginning of the input does not have it: {told}");
        }
    }
}

impl Found {
    fn add(&mut self, name: &str, place: impl Fn() -> String) {
        if let Some((rows, _)) = self.names.get_mut(name) {
            *rows += 1;
        } else if self.names.len() < TOLD {
            self.names.insert(name.to_owned(), (1, place()));
        } else {
            self.others += 1;
        }
    }

    fn told(&self) -> Option<String> {
        let each = self.names.iter().map(|(name, (rows, place))| {
            let are = if *rows == 1 { "row" } else { "rows" };
            format!("'{name}' ({rows} {are}, first {place})")
        });
        let mut told = each.collect::<Vec<_>>().join(", ");
        if self.others > 0 {
            let _ = write!(told, " and further names, {} times", self.others);
        }
        (!told.is_empty()).then_some(told)
    }
}
