//! Where results go: a table on stdout, JSON, a drawing.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ft_cli::output::Output;
use ft_cli::{Target, Usage};
use ft_plot::Panel;
use serde_json::{Map, Value, json};

use crate::args::OutputArgs;
use crate::machine;
use crate::table::Table;

/// What one benchmark found.
pub struct Report {
    /// `matmul`, `train` or `generate`
    pub benchmark: &'static str,
    /// As [`machine::describe`] gives it.
    pub machine: Value,
    /// What was asked for and what was found, in this order.
    pub figures: Map<String, Value>,
    pub tables: Vec<Table>,
    /// Lines below the tables.
    pub notes: Vec<String>,
    pub panels: Vec<Panel>,
}

impl Report {
    fn json(&self) -> Result<Vec<u8>> {
        let mut all = json!({
            "tool": "ft-bench",
            "version": env!("CARGO_PKG_VERSION"),
            "benchmark": self.benchmark,
            "machine": self.machine,
        });
        if let Value::Object(all) = &mut all {
            all.extend(self.figures.clone());
        }
        let mut text = serde_json::to_vec_pretty(&all)?;
        text.push(b'\n');
        Ok(text)
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", machine::line(&self.machine));
        for table in &self.tables {
            text.push('\n');
            text.push_str(&table.to_string());
        }
        for note in &self.notes {
            text.push('\n');
            text.push_str(note);
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        text
    }
}

/// The outputs that were asked for, open.
pub struct Outputs {
    json: Option<(String, Output)>,
    svg: Option<(String, Output)>,
    /// Neither of them is stdout.
    table: bool,
}

impl Outputs {
    /// Opens them all; nothing is there under their names before [`Self::write`].
    pub fn create(args: &OutputArgs) -> Result<Self> {
        let parse = |path: &Option<PathBuf>| path.as_ref().map(Target::parse);
        let (json, svg) = (parse(&args.json), parse(&args.svg));
        if json.is_some() && json == svg {
            bail!(Usage("--json and --svg name the same output; give each its own".into()));
        }
        let table = ![&json, &svg].contains(&&Some(Target::Stdout));
        let open = |target: Option<Target>| -> Result<Option<(String, Output)>> {
            target.map(|target| Ok((target.name(), target.create()?))).transpose()
        };
        Ok(Self { json: open(json)?, svg: open(svg)?, table })
    }

    pub fn write(self, report: &Report) -> Result<()> {
        if let Some(output) = self.json {
            put(output, &report.json()?)?;
        }
        if let Some(output) = self.svg {
            let title = format!("ft-bench {}: {}", report.benchmark, machine::line(&report.machine));
            put(output, ft_plot::bars(&title, &report.panels)?.as_bytes())?;
        }
        if self.table {
            put(("standard output".into(), Target::Stdout.create()?), report.text().as_bytes())?;
        }
        Ok(())
    }
}

/// Writes an output whole.
pub fn put((name, mut output): (String, Output), bytes: &[u8]) -> Result<()> {
    output.write_all(bytes).with_context(|| format!("cannot write '{name}'"))?;
    Ok(output.commit()?)
}

/// The middle value; of an even number the mean of the middle two.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    if n == 0 {
        return f64::NAN;
    }
    f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2])
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
