//! What is read, how it becomes rows, and where they go.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use chrono::Local;
use ft_cli::Usage;
use ft_io::{Distinct, Provenance, Source, Target};
use ft_table::ParquetWriter;
use ft_table::schema::{SOURCE, SOURCE_FILE, SOURCE_ROW, TEXT, tokens_schema};
use ft_text::{ChatTemplate, Encoder, TextModel, Tokenizer, UserFormat};
use serde_json::{Map, Value};

use crate::args::{Args, Mode};
use crate::conversations;
use crate::documents::Frame;
use crate::input::Input;
use crate::provenance::{pairs, provenance, travelling};
use crate::recipe::{self, Chats, Kind, Recipe};
use crate::work::Work;

/// Columns that go with their rows where they are there: where a row comes from.
const LINEAGE: [&str; 3] = [SOURCE, SOURCE_FILE, SOURCE_ROW];

/// Does what `args` say.
pub fn run(mut args: Args) -> Result<()> {
    args.check()?;
    args.model = args.common.model(&args.model)?;
    let user_format = args.user_format()?;
    let source = args.source()?;
    let target = args.target()?;
    require_distinct(&args, &source, &target)?;
    let model = open_model(&args)?;
    let fingerprint = model.fingerprint()?;
    let input = Input::open(&source)?;
    let present = input.schema();
    let kept = kept(&args, input.name(), &present)?;
    let mut provenance = provenance(&args, &source, input.sha256(), &fingerprint);
    let recipe = if input.holds_documents() {
        documents(&args, model)?
    } else {
        if args.packing {
            return Err(Usage("--packing is for documents (a column 'text'); ft-train packs chats".into()).into());
        }
        chats(&args, model, user_format, &mut provenance)?
    };
    let schema = schema(&present, &kept)?;
    let writer = ParquetWriter::create(&target, schema.clone(), &pairs(&provenance))?;
    let name = input.name().to_owned();
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    let mut columns: Vec<&str> = match recipe.kind {
        Kind::Chats(_) => conversations::COLUMNS.to_vec(),
        Kind::Documents { .. } => vec![TEXT],
    };
    columns.retain(|column| present.index_of(column).is_ok());
    columns.extend(kept.iter().copied().filter(|name| !columns.contains(name)).collect::<Vec<_>>());
    let work = Work { name: &name, source: &source, recipe: &recipe, args: &args, schema, columns, kept };
    let counts = work.all(input, writer)?;
    counts.report(args.mode == Mode::Train);
    Ok(())
}

/// The columns of the input that go with their rows.
fn kept(args: &Args, name: &str, present: &Schema) -> Result<Vec<String>> {
    let named: Vec<&str> = args.keep_columns.iter().map(|name| name.trim()).collect();
    if let Some(column) = named.iter().find(|column| present.index_of(column).is_err()) {
        let there: Vec<String> = present.fields().iter().map(|field| format!("'{}'", field.name())).collect();
        bail!("{name}: no column '{column}'; there are: {}", there.join(", "));
    }
    if let Some(name) = named.iter().find(|name| tokens_schema().index_of(name).is_ok()) {
        return Err(Usage(format!("--keep-columns names '{name}', which the output has with another meaning")).into());
    }
    let lineage =
        LINEAGE.into_iter().filter(|name| !args.packing && present.index_of(name).is_ok() && !named.contains(name));
    let mut kept: Vec<String> = Vec::new();
    for name in named.iter().copied().chain(lineage) {
        if !kept.iter().any(|other| other == name) {
            kept.push(name.to_owned());
        }
    }
    Ok(kept)
}

/// The output's columns: the tokens', and those that are kept.
fn schema(present: &Schema, kept: &[String]) -> Result<SchemaRef> {
    let mut fields: Vec<FieldRef> = tokens_schema().fields().iter().cloned().collect();
    for name in kept {
        fields.push(Arc::new(present.field_with_name(name)?.clone()));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The recipe of documents.
fn documents(args: &Args, model: TextModel) -> Result<Recipe> {
    if args.mode == Mode::Test {
        return Err(Usage("--mode test is for conversations; the input has documents (a column 'text')".into()).into());
    }
    let name = args.model.display();
    let frame = Frame::of(&model)
        .with_context(|| format!("{name}: the model names no end-of-sequence token, which has to part documents"))?;
    let kind = Kind::Documents { frame, packed: args.packing };
    Ok(recipe(args, model.tokenizer, kind))
}

/// The recipe of conversations; what a prompt must look like goes into `provenance`.
fn chats(
    args: &Args,
    mut model: TextModel,
    user_format: Option<UserFormat>,
    provenance: &mut Provenance,
) -> Result<Recipe> {
    let mut template = model.template.take().with_context(|| no_template(&args.model))?;
    let date = set_date(&mut template, args);
    provenance.extra.extend(date.map(|date| ("ft.template_date".into(), date)));
    travelling(args, &template, &model.end_ids, provenance);
    let variables = variables(args)?;
    let chats = Chats {
        template,
        labels: args.label_mode(),
        expand_turns: args.expand_turns,
        user_format,
        system: args.system.clone(),
        shared: recipe::variables(variables.clone()),
        variables,
        bos: model.bos.map(|bos| (bos.id, bos.text)),
        end_ids: model.end_ids,
    };
    Ok(recipe(args, model.tokenizer, Kind::Chats(Box::new(chats))))
}

fn recipe(args: &Args, tokenizer: Tokenizer, kind: Kind) -> Recipe {
    Recipe {
        encoder: Encoder::new(tokenizer),
        mode: args.mode,
        longest: args.max_seq_length.map(|n| n as usize),
        overlong: args.overlong,
        kind,
    }
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
