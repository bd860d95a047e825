//! The rows that were left out, each with its reason, as JSON lines.

use std::io::{BufWriter, Write};

use ft_io::Target;
use ft_io::output::Output;
use ft_table::shapes::Reason;
use ft_table::{BadRow, Error, Rows};
use serde_json::{Map, Value, json};

/// Takes the rows that are left out; without a file it forgets them.
pub struct Rejects(Option<File>);

struct File {
    name: String,
    out: BufWriter<Output>,
}

impl Rejects {
    /// To `target`, if there is one.
    pub fn create(target: Option<&Target>) -> Result<Self, Error> {
        let file = |target: &Target| Ok(File { name: target.name(), out: BufWriter::new(target.create()?) });
        Ok(Self(target.map(file).transpose().map_err(|error: ft_io::Error| Error::File(error))?))
    }

    /// A row; `more` says more about the reason.
    pub fn row(&mut self, rows: &Rows, row: usize, reason: Reason, more: Map<String, Value>) -> Result<(), Error> {
        let Some(file) = &mut self.0 else {
            return Ok(());
        };
        let cells = rows.columns().into_iter().filter_map(|column| {
            let value = rows.value(row, &column).into_owned();
            (!value.is_null()).then_some((column, value))
        });
        let mut line = head(rows.name(), rows.number(row), reason);
        line.extend(more);
        line.insert("data".into(), Value::Object(cells.collect()));
        file.write(line)
    }

    /// A row that is not what it should be.
    pub fn bad(&mut self, name: &str, bad: &BadRow) -> Result<(), Error> {
        let Some(file) = &mut self.0 else {
            return Ok(());
        };
        let mut line = head(name, bad.number, bad.reason);
        line.insert("detail".into(), bad.told.clone().into());
        line.insert("text".into(), bad.text.clone().into());
        file.write(line)
    }

    /// Gives the file its name.
    pub fn finish(self) -> Result<(), Error> {
        let Some(File { name, out }) = self.0 else {
            return Ok(());
        };
        let output = out.into_inner().map_err(|error| Error::Write { name, source: error.into_error() })?;
        Ok(output.commit()?)
    }
}

fn head(name: &str, number: u64, reason: Reason) -> Map<String, Value> {
    let line = json!({"file": name, "row": number, "reason": reason.words()});
    match line {
        Value::Object(line) => line,
        _ => Map::new(),
    }
}

impl File {
    fn write(&mut self, line: Map<String, Value>) -> Result<(), Error> {
        let text = Value::Object(line).to_string();
        let written = writeln!(self.out, "{text}");
        written.map_err(|source| Error::Write { name: self.name.clone(), source })
    }
}
