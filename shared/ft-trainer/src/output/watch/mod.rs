//! Where people and machines watch a run: the log, `metrics.jsonl`, TensorBoard, the curve at the end.

mod event;
mod metrics;
pub mod rows;
mod tensorboard;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::data::dataset::Dataset;
use crate::error::Result;
use crate::json::{Entry, write_file};
use crate::options::{Configuration, Options, ReportTo};
use crate::run::Observer;
use crate::run::trainer_state::TrainerState;
use metrics::Metrics;
use rows::Rows;
use tensorboard::TensorBoard;

/// Writes what is logged, as it comes.
pub struct Watchers {
    /// Where the run's files go; none where the adapter goes to a pipe, and on all ranks but the first.
    folder: Option<PathBuf>,
    name: String,
    report_to: Vec<ReportTo>,
    configuration: Configuration,
    log_rows: bool,
    metrics: Option<Metrics>,
    rows: Option<Rows>,
    board: Option<TensorBoard>,
}

impl Watchers {
    /// What [`LogOptions::report_to`](crate::options::LogOptions) names, in `folder`, of a run of this configuration.
    pub fn new(options: &Options, folder: Option<&Path>, configuration: Configuration) -> Self {
        let name = options.log.run_name.clone().or_else(|| Some(folder?.file_name()?.to_string_lossy().into_owned()));
        Self {
            folder: folder.map(Path::to_path_buf),
            name: name.unwrap_or_else(|| "run".into()),
            report_to: options.log.report_to.clone(),
            configuration,
            log_rows: options.log.log_rows,
            metrics: None,
            rows: None,
            board: None,
        }
    }

    /// Opens the files; after a resume with what `state` has logged.
    fn open(&mut self, state: &TrainerState) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        if self.report_to.contains(&ReportTo::Jsonl) {
            self.metrics = Some(Metrics::create(folder, &state.log_history)?);
        }
        if self.log_rows {
            self.rows = Some(Rows::create(folder, state.global_step)?);
        }
        if self.report_to.contains(&ReportTo::Tensorboard) {
            let events = folder.join("runs").join(self.name.replace(['/', '\\'], "_"));
            self.board = Some(TensorBoard::create(&events, state.global_step)?);
        }
        Ok(())
    }

    /// What the run is, before its first step: hyperparameters and the figures of its data.
    fn introduce(&mut self, data: &Entry) -> Result<()> {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        for (what, figures) in [("hyperparameters", &self.configuration.given()), ("data", data)] {
            let known = figures.iter().filter(|(_, value)| !value.is_null());
            let words: Vec<String> = known.map(|(key, value)| format!("{key} {}", plain(value))).collect();
            tracing::info!("{what}: {}", words.join(", "));
        }
        let Some(board) = &mut self.board else { return Ok(()) };
        board.hparams(&self.name, &self.configuration.values)?;
        for (tag, figures) in [("args", &self.configuration.values), ("data", data)] {
            let rows = figures.iter().map(|(key, value)| format!("| {key} | {} |\n", plain(value)));
            board.text(tag, &format!("| | |\n|---|---|\n{}", rows.collect::<String>()))?;
        }
        Ok(())
    }
}

impl Observer for Watchers {
    fn started(&mut self, state: &TrainerState, data: &Entry) -> Result<()> {
        self.open(state)?;
        self.introduce(data)
    }

    fn begins(&mut self, step: u64, data: &Dataset, rows: &dyn Fn() -> Vec<usize>) -> Result<()> {
        self.rows.as_mut().map_or(Ok(()), |file| file.write(step, data, &rows()))
    }

    fn logged(&mut self, step: u64, entry: &Entry) -> Result<()> {
        tracing::info!(figures = serde_json::to_string(entry)?, "step {step}");
        if let Some(metrics) = &mut self.metrics {
            metrics.write(entry)?;
        }
        if let Some(board) = &mut self.board {
            board.scalars(step, entry)?;
        }
        Ok(())
    }

    /// `loss.svg` and `loss.png`, where there is a loss to draw.
    fn finished(&mut self, history: &[Entry]) -> Result<()> {
        let Some(folder) = self.folder.as_ref().filter(|_| !self.report_to.is_empty()) else { return Ok(()) };
        let Ok(chart) = ft_plot::training(&self.name, history) else { return Ok(()) };
        write_file(&folder.join("loss.svg"), chart.svg()?.as_bytes())?;
        write_file(&folder.join("loss.png"), &chart.png()?)
    }
}
