//! Where results go: a table on stdout, JSON, a drawing.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use ft_io::output::Output;
use ft_io::{Distinct, Target};
use ft_plot::{Panel, Scatter};
use serde_json::{Map, Value, json};

use crate::args::OutputArgs;
use crate::machine;
use crate::table::Table;

/// What one benchmark found.
pub struct Report {
    /// `matmul`, `train` or `generate`
    pub benchmark: &'static str,
    /// As [`machine::describe`] gives it; null where nothing was measured.
    pub machine: Value,
    /// What was asked for and what was found, in this order.
    pub figures: Map<String, Value>,
    pub tables: Vec<Table>,
    /// Lines below the tables.
    pub notes: Vec<String>,
    pub panels: Vec<Panel>,
    /// A drawing in place of the panels'.
    pub scatter: Option<Scatter>,
}

impl Report {
    fn json(&self) -> Result<Vec<u8>> {
        let mut all = json!({
            "tool": "ft-bench",
            "version": env!("CARGO_PKG_VERSION"),
            "benchmark": self.benchmark,
        });
        if let Value::Object(all) = &mut all {
            if !self.machine.is_null() {
                all.insert("machine".into(), self.machine.clone());
            }
            all.extend(self.figures.clone());
        }
        let mut text = serde_json::to_vec_pretty(&all)?;
        text.push(b'\n');
        Ok(text)
    }

    /// A drawing of its own, or bars.
    fn svg(&self) -> Result<String> {
        if let Some(scatter) = &self.scatter {
            return Ok(scatter.svg()?);
        }
        let title = if self.machine.is_null() {
            format!("ft-bench {}", self.benchmark)
        } else {
            format!("ft-bench {}: {}", self.benchmark, machine::line(&self.machine))
        };
        Ok(ft_plot::bars(&title, &self.panels)?)
    }

    fn text(&self) -> String {
        let mut text =
            if self.machine.is_null() { String::new() } else { format!("{}\n", machine::line(&self.machine)) };
        for table in &self.tables {
            if !text.is_empty() {
                text.push('\n');
            }
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
    png: Option<(String, Output)>,
    /// Neither of them is stdout.
    table: bool,
}

impl Outputs {
    /// Opens them all; nothing is there under their names before [`Self::write`].
    /// `files` knows the inputs.
    pub fn create(args: &OutputArgs, png: Option<&PathBuf>, files: &mut Distinct) -> Result<Self> {
        let parse = |path: Option<&PathBuf>| path.map(Target::parse);
        let (json, svg, png) = (parse(args.json.as_ref()), parse(args.svg.as_ref()), parse(png));
        for (option, target) in [("--json", &json), ("--svg", &svg), ("--png", &png)] {
            target.iter().try_for_each(|target| files.output(option, target))?;
        }
        let table = ![&json, &svg, &png].contains(&&Some(Target::Stdout));
        let png = png.map(|png| Target::binary(Some(png))).transpose()?;
        let open = |target: Option<Target>| -> Result<Option<(String, Output)>> {
            target.map(|target| Ok((target.name(), target.create()?))).transpose()
        };
        Ok(Self { json: open(json)?, svg: open(svg)?, png: open(png)?, table })
    }

    pub fn write(self, report: &Report) -> Result<()> {
        if let Some(output) = self.json {
            put(output, &report.json()?)?;
        }
        if let Some(output) = self.svg {
            put(output, report.svg()?.as_bytes())?;
        }
        if let (Some(output), Some(scatter)) = (self.png, &report.scatter) {
            put(output, &scatter.png()?)?;
        }
        if self.table {
            let mut listing = ft_io::output::listing();
            listing.write_all(report.text().as_bytes()).context("cannot write to standard output")?;
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
