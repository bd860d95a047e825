//! Held-out rows that are in the training side, or nearly.

use std::io::{BufWriter, Write};

use ft_io::Target;
use ft_table::Error;
use serde_json::json;

use crate::facts::Facts;
use crate::near::Index;
use crate::split::Side;

/// Writes a JSON line for each test row that has a row of the training side near it, with the nearest one; gives how many
/// there are. `sides`: each row's, none where it is not written.
pub fn report(
    target: &Target,
    facts: &Facts,
    names: &[String],
    sides: &[Option<Side>],
    threshold: f64,
) -> anyhow::Result<u64> {
    let rows_of = |side: Side| (0..sides.len()).filter(move |&row| sides[row] == Some(side));
    let mut index = Index::new(threshold);
    let mut training = Vec::new();
    for row in rows_of(Side::Train) {
        index.insert(facts.shingles[row].clone());
        training.push(row);
    }
    let place = |row: usize| {
        let name = names.get(facts.files[row] as usize).map_or("", String::as_str);
        json!({"file": name, "row": facts.rows[row]})
    };
    let mut out = BufWriter::new(target.create()?);
    let failed = |source| Error::Write { name: target.name(), source };
    let mut leaks = 0;
    for row in rows_of(Side::Test) {
        ft_io::interrupt::check()?;
        if let Some((nearest, similarity)) = index.nearest(&facts.shingles[row]) {
            let similarity = (similarity * 1e4).round() / 1e4;
            let line = json!({"similarity": similarity, "test": place(row), "train": place(training[nearest])});
            writeln!(out, "{line}").map_err(failed)?;
            leaks += 1;
        }
    }
    let output = out.into_inner().map_err(|error| failed(error.into_error()))?;
    output.commit()?;
    Ok(leaks)
}
