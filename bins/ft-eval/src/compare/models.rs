//! Two models, measured on the same rows.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, ensure};
use ft_io::{Source, interrupt};
use ft_measure::{
    Answers, Asker, Format, LabelledRows, Likelihoods, Losses, Prompts, Questions, Sampler, Sampling, Scores,
    check_tokenizer,
};
use ft_model::generate::Options;
use ft_table::read_parquet;
use ft_table::schema::INPUT_IDS;
use ft_text::TextModel;

use crate::args::TwoModelsArgs;
use crate::model::Model;
use crate::{choice, generate, loss};

/// What models are measured on.
pub enum Task {
    Loss(LabelledRows),
    Answers(Prompts),
    Choices(Questions),
}

impl Task {
    /// Reads `path`: token rows are for the loss where one has a label, and prompts where none has; all else is
    /// questions.
    pub fn read(path: &Path, format: Format) -> Result<Self> {
        let source = Source::Path(path.into());
        let is_tokens = read_parquet(&source).is_ok_and(|table| table.has(INPUT_IDS));
        if !is_tokens {
            return Ok(Self::Choices(Questions::read(&source, format, None)?));
        }
        match LabelledRows::read(&source, None) {
            Ok(rows) if rows.labels() > 0 => Ok(Self::Loss(rows)),
            _ => Ok(Self::Answers(Prompts::read(&source, None)?)),
        }
    }

    /// SHA-256 of the rows' file.
    pub fn sha256(&self) -> &str {
        match self {
            Self::Loss(rows) => &rows.sha256,
            Self::Answers(prompts) => &prompts.sha256,
            Self::Choices(questions) => &questions.sha256,
        }
    }

    /// What the model at `path`, open as `model`, comes to; `name` is what it is called.
    pub fn scores(&self, name: &str, path: &Path, model: &Model, args: &TwoModelsArgs) -> Result<Scores> {
        let scores = match self {
            Self::Loss(rows) => of_losses(name, rows, path, model, args)?,
            Self::Answers(prompts) => of_answers(name, prompts, path, model, args)?,
            Self::Choices(questions) => of_choices(name, questions, path, model, args)?,
        };
        interrupt::check()?;
        Ok(scores)
    }
}

/// Opens a model for the comparison, with its name for messages.
pub fn open(path: &Path, adapter: Option<&OsStr>, args: &TwoModelsArgs) -> Result<(String, Model)> {
    let model = Model::open(path, adapter, &args.held)?;
    let name = |path: &Path| Source::Path(path.into()).file_name();
    let added = adapter.map(|adapter| format!(" + {}", name(Path::new(adapter)))).unwrap_or_default();
    Ok((name(path) + &added, model))
}

fn of_losses(name: &str, rows: &LabelledRows, path: &Path, model: &Model, args: &TwoModelsArgs) -> Result<Scores> {
    rows.check(&model.arch, path)?;
    model.check_template(&rows.name, rows.template.as_deref());
    let batches = Losses::new(model.decoder(), rows, args.held.batch_size as usize);
    Ok(Scores::of_losses(name.to_owned(), rows, &loss::losses(batches, rows)?))
}

fn of_answers(name: &str, prompts: &Prompts, path: &Path, model: &Model, args: &TwoModelsArgs) -> Result<Scores> {
    check_tokenizer(&prompts.name, prompts.tokenizer.as_deref(), path)?;
    model.check_template(&prompts.name, prompts.template.as_deref());
    ensure!(
        prompts.references.iter().any(Option::is_some),
        "{}: no row has a reference to hold answers against",
        prompts.name
    );
    let text = TextModel::open(path)?;
    let options = Options {
        max_new_tokens: args.max_new_tokens as usize,
        batch_size: args.held.batch_size as usize,
        end_ids: model.end_ids(&text),
    };
    let sampler = Sampler::new(Sampling::GREEDY, 0, &prompts.ids, 1);
    let answers = Answers::new(model.decoder(), prompts, &text.tokenizer, (sampler, &[]), options)?;
    let answers = generate::answer(answers, prompts, None)?;
    Ok(Scores::of_answers(name.to_owned(), prompts, &answers))
}

fn of_choices(name: &str, questions: &Questions, path: &Path, model: &Model, args: &TwoModelsArgs) -> Result<Scores> {
    let format = args.format.into();
    let asker = Asker::new(TextModel::open(path)?, format, args.no_chat_template);
    let asked = asker.ask_all(&questions.list, None)?;
    model.check_template("the questions", asker.template().as_deref());
    choice::check_lengths(&asked, questions, &model.arch)?;
    let batches = Likelihoods::new(model.decoder(), &asked, format, args.held.batch_size as usize);
    let likelihoods = choice::likelihoods(batches, asked.len())?;
    let outcomes = choice::outcomes(&questions.list, &likelihoods, format);
    Ok(Scores::of_choices(name.to_owned(), &questions.list, &outcomes))
}
