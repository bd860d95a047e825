//! `ft-eval compare`: which of two models is better on the same rows, and whether that may be chance.

mod checks;
mod junit;
mod models;
mod words;

use std::path::Path;

use anyhow::{Result, bail};
use ft_cli::Usage;
use ft_io::{Distinct, NamedValue, Source, Target};
use ft_measure::{Comparison, MatchBy, Scores, compare, read_scores};
use serde_json::{Map, Value, json};

use crate::args::CompareArgs;
use crate::report::{Input, Report, figure, table};

use checks::{Check, checks, loss_of};
use words::told;

/// Two sides of the same rows.
struct Sides {
    a: Scores,
    b: Scores,
}

/// All that is compared.
struct Measured {
    task: Sides,
    forgetting: Option<Sides>,
    inputs: Vec<Input>,
    /// What the report calls the two sides, without folders.
    names: [String; 2],
    /// What a report says of the models, where there are some.
    models: Map<String, Value>,
}

pub fn run(args: &CompareArgs) -> Result<()> {
    if args.bounds.max_forgetting.is_some() && args.forgetting.is_empty() && args.models.forgetting_on.is_none() {
        let told = "--max-forgetting: name what must not be forgotten, with --forgetting or --forgetting-on";
        return Err(Usage(told.into()).into());
    }
    let mut report = Report::open(args.report.as_ref(), None, files(args))?;
    let junit = match args.junit.as_ref().map(Target::parse) {
        Some(target) => Some((report.also("--junit", &target)?, target.name())),
        None => None,
    };
    let measured = if args.models.on.is_some() { of_models(args)? } else { of_files(args)? };
    let Sides { a, b } = &measured.task;
    let compared = compare(a, b, args.resampling())?;
    let forgetting = measured.forgetting.as_ref().map(|sides| compare(&sides.a, &sides.b, args.resampling()));
    let forgetting = forgetting.transpose()?;
    let forgotten = forgetting.as_deref().map(|all| {
        loss_of(all).ok_or_else(|| Usage("--forgetting: expected files of 'ft-eval loss --per-example'".into()))
    });
    let forgotten = forgotten.transpose()?;
    let checks = checks(&args.bounds, &compared, forgotten)?;

    let title = format!("{} against {}", b.name, a.name);
    say(&title, &compared, forgotten);
    report.write("compare", figures(args, &measured, &compared, forgotten, &checks), &measured.inputs, &[])?;
    if let Some((output, name)) = junit {
        junit::write(output, &name, &title, &compared, &checks)?;
    }
    let broken: Vec<String> = checks.iter().filter(|check| !check.holds).map(Check::told).collect();
    if !broken.is_empty() {
        bail!("{title}: {}", broken.join("; "));
    }
    Ok(())
}

/// What is read.
fn files(args: &CompareArgs) -> Distinct {
    let mut files = Distinct::new();
    let models = &args.models;
    let named = [("A", Some(&args.a)), ("B", Some(&args.b)), ("--on", models.on.as_ref())];
    let more = args.forgetting.iter().map(|path| ("--forgetting", Some(path)));
    for (option, path) in named.into_iter().chain(more).chain([("--forgetting-on", models.forgetting_on.as_ref())]) {
        if let Some(path) = path {
            files.input(option, &Source::Path(path.clone()));
        }
    }
    for (option, adapter) in [("--adapter-a", &models.adapter_a), ("--adapter-b", &models.adapter_b)] {
        if let Some(adapter) = adapter {
            files.input(option, &Source::Path(adapter.into()));
        }
    }
    files
}

/// The rows that ft-eval wrote.
fn of_files(args: &CompareArgs) -> Result<Measured> {
    let mut inputs = Vec::new();
    let mut read = |path: &Path, by: MatchBy| -> Result<Scores> {
        if path.is_dir() {
            let told = "it is a folder; to compare two models, name the rows that they are measured on with --on";
            bail!("'{}': {told}", path.display());
        }
        let source = Source::Path(path.into());
        let (scores, sha256) = read_scores(&source, by)?;
        inputs.push(Input { name: source.file_name(), sha256 });
        Ok(scores)
    };
    let by = if args.by_reference { MatchBy::Reference } else { MatchBy::Row };
    let task = Sides { a: read(&args.a, by)?, b: read(&args.b, by)? };
    let forgetting = match &args.forgetting[..] {
        [a, b] => Some(Sides { a: read(a, MatchBy::Row)?, b: read(b, MatchBy::Row)? }),
        _ => None,
    };
    let names = [&task.a, &task.b].map(|side| Source::Path(side.name.clone().into()).file_name());
    Ok(Measured { task, forgetting, inputs, names, models: Map::new() })
}

/// Two models' rows, each model open as long as it is measured.
fn of_models(args: &CompareArgs) -> Result<Measured> {
    let models = &args.models;
    let (mut inputs, mut described) = (Vec::new(), Map::new());
    let mut read = |path: Option<&std::path::PathBuf>| {
        let read = |path: &std::path::PathBuf| -> Result<models::Task> {
            let task = models::Task::read(path, models.format.into())?;
            let name = Source::Path(path.clone()).file_name();
            inputs.push(Input { name, sha256: task.sha256().to_owned() });
            Ok(task)
        };
        path.map(read).transpose()
    };
    let (task, forgetting) = (read(models.on.as_ref())?, read(models.forgetting_on.as_ref())?);
    let mut measure = |side: &str, path: &Path, adapter: Option<&std::ffi::OsString>| -> Result<Vec<Scores>> {
        let (name, model) = models::open(path, adapter.map(AsRef::as_ref), models)?;
        described.insert(side.to_owned(), model.describe(&models.held).into());
        [&task, &forgetting].into_iter().flatten().map(|task| task.scores(&name, path, &model, models)).collect()
    };
    let a = measure("a", &args.a, models.adapter_a.as_ref())?;
    let b = measure("b", &args.b, models.adapter_b.as_ref())?;
    let mut sides = a.into_iter().zip(b).map(|(a, b)| Sides { a, b });
    let Some(task) = sides.next() else { bail!("nothing was measured") };
    let names = [task.a.name.clone(), task.b.name.clone()];
    Ok(Measured { task, forgetting: sides.next(), inputs, names, models: described })
}

fn say(title: &str, compared: &[Comparison], forgotten: Option<&Comparison>) {
    let mut rows: Vec<(&str, String)> = compared.iter().map(|of| (of.metric.name(), told(of))).collect();
    rows.extend(forgotten.map(|of| ("not to be forgotten", told(of))));
    table(title, &rows);
}

fn figures(
    args: &CompareArgs,
    measured: &Measured,
    compared: &[Comparison],
    forgotten: Option<&Comparison>,
    checks: &[Check],
) -> Map<String, Value> {
    let [a, b] = &measured.names;
    let metrics: Map<String, Value> =
        compared.iter().map(|of| (of.metric.name().to_owned(), comparison_json(of))).collect();
    let mut figures = Map::new();
    figures.insert("a".into(), json!(a));
    figures.insert("b".into(), json!(b));
    if !measured.models.is_empty() {
        figures.insert("models".into(), measured.models.clone().into());
    }
    figures.insert("rows".into(), json!(measured.task.a.ids.len()));
    figures.insert("metrics".into(), metrics.into());
    if let Some(of) = forgotten {
        figures.insert("forgetting".into(), comparison_json(of));
    }
    figures.insert("resamples".into(), json!(args.resamples));
    figures.insert("confidence".into(), json!(args.confidence));
    figures.insert("seed".into(), json!(args.seed));
    figures.insert("bounds".into(), checks.iter().map(Check::to_json).collect());
    figures.insert("holds".into(), json!(checks.iter().all(|check| check.holds)));
    figures
}

fn comparison_json(of: &Comparison) -> Value {
    json!({
        "rows": of.rows, "a": figure(of.a), "b": figure(of.b), "gain": figure(of.gain),
        "gain_interval": [figure(of.interval.0), figure(of.interval.1)],
        "wins": of.wins, "losses": of.losses, "ties": of.ties, "p_value": figure(of.p_value),
    })
}
