//! From the input's batches to the output's, in order.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use arrow::array::RecordBatch;
use chrono::Local;
use ft_cli::{progress, typed_arguments};
use ft_io::{Distinct, InputDigest, Interrupted, Provenance, Source, Target, interrupt};
use ft_table::schema::tokens_schema;
use ft_table::{ParquetTable, ParquetWriter, read_parquet};
use ft_text::{ChatTemplate, Encoder, Scratch, TextModel};
use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::args::{Args, Mode, Overlong, Policy};
use crate::columns::Columns;
use crate::conversations::{self, Conversations};
use crate::counts::Counts;
use crate::example;
use crate::rows::{self, Recipe, Reject, Row};

/// Rows that one thread makes at a time.
const CHUNK: usize = 512;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Does what `args` say.
#[allow(clippy::needless_pass_by_value)] // what ft_cli::run calls takes them
pub fn run(args: Args) -> Result<()> {
    args.check()?;
    let user_format = args.user_format()?;
    let source = args.source()?;
    let target = args.target()?;
    require_distinct(&args, &source, &target)?;
    let mut model = open_model(&args)?;
    let fingerprint = model.fingerprint()?;
    let mut template = model.template.take().with_context(|| no_template(&args.model))?;
    let date = set_date(&mut template, &args);
    let table = read_parquet(&source)?;
    conversations::check(table.name(), table.schema())?;
    let mut provenance = provenance(&args, &source, &table, &fingerprint, &template.sha256());
    provenance.extra.extend(date.map(|date| ("ft.template_date".into(), date)));
    let variables = variables(&args)?;
    let recipe = Recipe {
        template,
        encoder: Encoder::new(model.tokenizer),
        mode: args.mode,
        labels: args.label_mode(),
        user_format,
        system: args.system.clone(),
        shared: rows::variables(variables.clone()),
        variables,
        longest: args.max_seq_length.map(|n| n as usize),
        overlong: args.overlong,
        bos: model.bos.map(|bos| (bos.id, bos.text)),
        end_ids: model.end_ids,
    };
    let writer = ParquetWriter::create(&target, tokens_schema(), &provenance.to_pairs())?;
    let name = table.name().to_owned();
    let work = Work { name: &name, recipe: &recipe, args: &args };
    let counts = work.all(table, writer)?;
    counts.report(args.mode == Mode::Train);
    Ok(())
}

/// The output takes the place of nothing that is read.
fn require_distinct(args: &Args, source: &Source, target: &Target) -> Result<()> {
    let mut files = Distinct::new();
    files.input("INPUT", source);
    let named = [("--model", Some(&args.model)), ("--chat-template", args.chat_template.as_ref())];
    for (option, path) in named.into_iter().chain([("--tools", args.tools.as_ref())]) {
        path.into_iter().for_each(|path| files.input(option, &Source::Path(path.clone())));
    }
    Ok(files.output("--output", target)?)
}

fn open_model(args: &Args) -> Result<TextModel> {
    let mut model = TextModel::open(&args.model)?;
    if let Some(file) = &args.chat_template {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read '{}'", file.display()))?;
        model.set_template(&text).with_context(|| file.display().to_string())?;
    }
    Ok(model)
}

/// Lets the template tell `--date`, or the time of this run, and gives what it is if the
/// template asks for it.
fn set_date(template: &mut ChatTemplate, args: &Args) -> Option<String> {
    let date = args.date.unwrap_or_else(|| Local::now().naive_local());
    template.set_clock(date);
    template.tells_the_date().then(|| {
        let day = date.date().to_string();
        if args.date.is_none() {
            tracing::info!("the template may write today's date, {day}, into the rows; --date sets another");
        }
        day
    })
}

/// The template's variables for all rows.
fn variables(args: &Args) -> Result<Map<String, Value>> {
    let mut variables = args.template_kwargs();
    if let Some(file) = &args.tools {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read '{}'", file.display()))?;
        let tools: Vec<Value> = serde_json::from_str(&text)
            .map_err(|e| anyhow!("{}: expected a JSON list of functions: {e}", file.display()))?;
        variables.insert("tools".into(), tools.into());
    }
    Ok(variables)
}

fn no_template(model: &Path) -> String {
    format!(
        "{}: the model has no chat template (base models have none); give one with --chat-template FILE",
        model.display()
    )
}

fn provenance(args: &Args, source: &Source, table: &ParquetTable, fingerprint: &str, template: &str) -> Provenance {
    let model = args.model.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Provenance {
        tool: "ft-template".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        arguments: typed_arguments(&["-o", "--output"], &[source]),
        inputs: vec![InputDigest { name: source.file_name(), sha256: table.sha256().into() }],
        extra: BTreeMap::from([
            ("ft.tokenizer_sha256".into(), fingerprint.into()),
            ("ft.chat_template_sha256".into(), template.into()),
            ("ft.model".into(), model),
        ]),
    }
}

struct Work<'a> {
    name: &'a str,
    recipe: &'a Recipe,
    args: &'a Args,
}

/// What a chunk of rows came to.
struct Made {
    batch: RecordBatch,
    counts: Counts,
    /// The first row that was kept.
    first: Option<Row>,
}

impl Work<'_> {
    /// Reads, makes and writes all rows.
    fn all(&self, table: ParquetTable, mut writer: ParquetWriter) -> Result<Counts> {
        let bar = progress(Some(table.num_rows()), "rows");
        let columns: Vec<&str> =
            conversations::COLUMNS.into_iter().filter(|c| table.schema().index_of(c).is_ok()).collect();
        let mut batches = table.batches(Some(&columns))?;
        let mut counts = Counts::default();
        let mut shown = false;
        let mut next = batches.next();
        while let Some(batch) = next {
            if interrupt::requested() {
                return Err(Interrupted.into());
            }
            let batch = Conversations::new(&batch?).with_context(|| self.name.to_owned())?;
            let before = counts.read;
            let (made, following) = rayon::join(|| self.batch(&batch, before), || batches.next());
            next = following;
            for made in made {
                let made = made?;
                if let Some(row) = made.first.filter(|_| !shown) {
                    tracing::info!("{}", example::show(&row));
                    shown = true;
                }
                writer.write(&made.batch)?;
                counts += made.counts;
            }
            bar.inc(batch.len() as u64);
        }
        bar.finish();
        if counts.kept == 0 {
            return Err(nothing_left(self.name, &counts));
        }
        writer.finish()?;
        Ok(counts)
    }

    /// The rows of one batch, in chunks; `before` rows came before it.
    fn batch(&self, batch: &Conversations, before: u64) -> Vec<Result<Made>> {
        let starts: Vec<usize> = (0..batch.len()).step_by(CHUNK).collect();
        starts
            .into_par_iter()
            .map(|start| {
                let end = (start + CHUNK).min(batch.len());
                SCRATCH.with_borrow_mut(|scratch| self.chunk(batch, start..end, before, scratch))
            })
            .collect()
    }

    fn chunk(
        &self,
        batch: &Conversations,
        rows: std::ops::Range<usize>,
        before: u64,
        scratch: &mut Scratch,
    ) -> Result<Made> {
        let mut counts = Counts::default();
        let mut columns = Columns::default();
        let mut first = None;
        for i in rows {
            let number = before + i as u64 + 1;
            counts.read += 1;
            let row = batch.messages(i).map_err(Reject::Bad).and_then(|messages| {
                let variables = batch.variables(i).map_err(Reject::Bad)?;
                self.recipe.row(messages, variables, batch.reference(i), scratch)
            });
            match row {
                Ok(row) => {
                    counts.keep(&row);
                    columns.add(&row);
                    first.get_or_insert(row);
                }
                Err(reject) => self.reject(reject, number, &mut counts)?,
            }
        }
        Ok(Made { batch: columns.finish()?, counts, first })
    }

    /// Counts a row that is left out, or fails with it.
    fn reject(&self, reject: Reject, number: u64, counts: &mut Counts) -> Result<()> {
        let place = || format!("{}: row {number}", self.name);
        match reject {
            Reject::Fatal(error) => return Err(anyhow!(error).context(place())),
            Reject::Bad(reason) if self.args.bad_rows == Policy::Error => {
                bail!("{}: {reason} (--bad-rows drop leaves such rows out)", place())
            }
            Reject::Bad(reason) => counts.bad.add(number, || reason),
            Reject::Unlabelled if self.args.unlabelled == Policy::Error => {
                bail!("{}: no token of it would be learned (--unlabelled drop leaves such rows out)", place())
            }
            Reject::Unlabelled => counts.unlabelled.add(number, || "it has no labelled token".into()),
            Reject::Overlong { tokens } => {
                let longest = self.recipe.longest.unwrap_or_default();
                let reason = || format!("{tokens} tokens, --max-seq-length is {longest}");
                if self.args.overlong == Overlong::Error {
                    bail!("{}: {} (--overlong drop or truncate goes on)", place(), reason())
                }
                counts.overlong.add(number, reason);
                counts.lost_tokens += tokens as u64;
            }
        }
        Ok(())
    }
}

fn nothing_left(name: &str, counts: &Counts) -> anyhow::Error {
    if counts.read == 0 {
        return anyhow!("{name}: has no rows");
    }
    let first = [&counts.overlong, &counts.unlabelled, &counts.bad].into_iter().find_map(|d| d.first.as_ref());
    let (row, reason) = first.map_or((1, "unknown"), |(row, reason)| (*row, reason.as_str()));
    anyhow!("{name}: none of the {} rows can be used; row {row}: {reason}", counts.read)
}
