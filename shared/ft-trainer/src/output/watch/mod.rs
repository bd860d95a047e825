//! Where people and machines watch a run: the log, `metrics.jsonl`, TensorBoard, the curve at the end.

mod event;
mod metrics;
mod tensorboard;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use crate::args::{Args, Report};
use crate::output::run_record::Record;
use crate::run::trainer_state::{Entry, State, write_file};
use metrics::Metrics;
use tensorboard::TensorBoard;

/// What is written of each log entry.
pub struct Watch {
    /// Where the run's files go; none where the adapter goes to a pipe.
    output: Option<PathBuf>,
    name: String,
    metrics: Option<Metrics>,
    board: Option<TensorBoard>,
}

impl Watch {
    /// Opens what `--report-to` names; after a resume with what `state` has logged.
    pub fn start(args: &Args, output: Option<&Path>, state: &State) -> Result<Self> {
        let wanted = |report| args.log.report_to.contains(&report) && !args.log.report_to.contains(&Report::None);
        let name = args.log.run_name.clone().or_else(|| Some(output?.file_name()?.to_string_lossy().into_owned()));
        let name = name.unwrap_or_else(|| "run".into());
        let (mut metrics, mut board) = (None, None);
        if let Some(dir) = output {
            if wanted(Report::Jsonl) {
                metrics = Some(Metrics::create(dir, &state.log_history)?);
            }
            if wanted(Report::Tensorboard) {
                let folder = dir.join("runs").join(name.replace(['/', '\\'], "_"));
                board = Some(TensorBoard::create(&folder, state.global_step)?);
            }
        }
        let output = output.filter(|_| !args.log.report_to.contains(&Report::None)).map(Path::to_path_buf);
        Ok(Self { output, name, metrics, board })
    }

    /// What the run is, before its first step: hyperparameters and the figures of its data.
    pub fn introduce(&mut self, record: &Record, data: &Entry) -> Result<()> {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        for (what, figures) in [("hyperparameters", &record.given()), ("data", data)] {
            let known = figures.iter().filter(|(_, value)| !value.is_null());
            let words: Vec<String> = known.map(|(key, value)| format!("{key} {}", plain(value))).collect();
            tracing::info!("{what}: {}", words.join(", "));
        }
        let Some(board) = &mut self.board else { return Ok(()) };
        board.hparams(&self.name, &record.configuration.values)?;
        for (tag, figures) in [("args", &record.configuration.values), ("data", data)] {
            let rows = figures.iter().map(|(key, value)| format!("| {key} | {} |\n", plain(value)));
            board.text(tag, &format!("| | |\n|---|---|\n{}", rows.collect::<String>()))?;
        }
        Ok(())
    }

    /// An entry of step `step`.
    pub fn log(&mut self, step: u64, entry: &Entry) -> Result<()> {
        tracing::info!("{}", serde_json::to_string(entry)?);
        if let Some(metrics) = &mut self.metrics {
            metrics.write(entry)?;
        }
        if let Some(board) = &mut self.board {
            board.scalars(step, entry)?;
        }
        Ok(())
    }

    /// `loss.svg` and `loss.png`, where there is a loss to draw.
    pub fn draw(&self, history: &[Entry]) -> Result<()> {
        let Some(dir) = &self.output else { return Ok(()) };
        let Ok(chart) = ft_plot::training(&self.name, history) else { return Ok(()) };
        write_file(&dir.join("loss.svg"), chart.svg()?.as_bytes())?;
        write_file(&dir.join("loss.png"), &chart.png()?)
    }
}
