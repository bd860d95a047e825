//! The recipe: for each step its rows, its gradients, its update; now and then a log, an evaluation, a checkpoint.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use ft_cli::Interrupted;
use ft_model::batch::Batch;
use ft_model::decoder::{Decoder, DropoutKey};
use ft_model::optimizer::{Optimizer, OptimizerConfig};
use ft_model::step::{Step, StepResult};
use serde_json::{Map, Value, json};

use crate::args::{Args, TrainingArgs};
use crate::checkpoint;
use crate::evaluate::{Evaluation, evaluate};
use crate::history::{Metrics, State, Window, rounded};
use crate::sampler::Sampler;
use crate::schedule::Schedule;
use crate::setup::Setup;

/// A run under way.
pub struct Trainer<'a> {
    args: &'a Args,
    setup: Setup,
    sampler: Sampler,
    schedule: Schedule,
    optimizer: Optimizer,
    state: State,
    metrics: Metrics,
    /// Where checkpoints go; none where the adapter goes to a pipe.
    output: Option<PathBuf>,
    window: Window,
    initial_adapter: String,
    started: Instant,
}

/// How the run went.
pub struct Outcome {
    pub setup: Setup,
    pub state: State,
    /// `train_results.json` and `eval_results.json`.
    pub results: Map<String, Value>,
    pub eval_results: Option<Map<String, Value>>,
    /// SHA-256 of the adapter that the run began with.
    pub initial_adapter: String,
    /// From the program's start.
    pub seconds_to_first_step: f64,
}

impl<'a> Trainer<'a> {
    /// Gets ready, from the beginning or from a checkpoint.
    pub fn new(args: &'a Args, mut setup: Setup, output: Option<PathBuf>, started: Instant) -> Result<Self> {
        let t = &args.training;
        let sampler = Sampler::new(args, setup.train.sequences.len());
        let steps = sampler.steps(t);
        let initial_adapter = setup.adapter.sha256()?;
        let mut optimizer = Optimizer::new(&setup.adapter, optimizer_config(t))?;
        let (mut state, mut window) = (fresh_state(args, steps, &sampler), Window::default());
        if let Some(path) = &args.resume_from_checkpoint {
            let path = match (&output, path.as_os_str().is_empty()) {
                (Some(output), true) => checkpoint::newest(output)?,
                (None, true) => anyhow::bail!("--resume-from-checkpoint needs a folder where the output is a pipe"),
                (_, false) => path.clone(),
            };
            let saved = checkpoint::load(&path, optimizer)?;
            tracing::info!("going on after step {} from '{}'", saved.state.global_step, path.display());
            (setup.adapter, optimizer, window) = (saved.adapter, saved.optimizer, saved.window);
            state = State { max_steps: steps, ..saved.state };
        }
        let metrics = Metrics::create(output.as_deref(), &state.log_history)?;
        setup.announce(steps, t.sequences_a_step());
        let schedule = Schedule::new(t, steps)?;
        Ok(Self { args, setup, sampler, schedule, optimizer, state, metrics, output, window, initial_adapter, started })
    }

    /// Takes all the steps that are left.
    ///
    /// A signal finishes the step, writes a checkpoint and ends with [`Interrupted`].
    pub fn run(mut self) -> Result<Outcome> {
        let seconds_to_first_step = self.started.elapsed().as_secs_f64();
        let started = Instant::now();
        let (first, seen_before) = (self.state.global_step, self.state.num_input_tokens_seen);
        let bar = ft_cli::progress(Some(self.state.max_steps), "training");
        bar.set_position(first);
        let mut total_loss = 0.0;
        while self.state.global_step < self.state.max_steps {
            total_loss += self.step(&bar)?;
            bar.inc(1);
            self.after_step()?;
        }
        bar.finish();
        let seconds = started.elapsed().as_secs_f64();
        let steps = self.state.global_step - first;
        let tokens = self.state.num_input_tokens_seen - seen_before;
        let results = train_results(&self.state, &self.args.training, steps, total_loss, seconds, tokens);
        self.log(results.clone())?;
        let eval_results = self.evaluate_or_save()?;
        let Self { setup, state, initial_adapter, .. } = self;
        Ok(Outcome { setup, state, results, eval_results, initial_adapter, seconds_to_first_step })
    }

    /// One optimizer step; returns its loss.
    fn step(&mut self, bar: &ft_cli::Progress) -> Result<f64> {
        let number = self.state.global_step;
        let rows = self.sampler.step(number);
        let started = Instant::now();
        let p = self.setup.adapter.config.lora_dropout;
        let step = Step {
            arch: &self.setup.arch,
            source: &*self.setup.source,
            ranks: &ft_dist::Solo,
            activation_memory: self.setup.activation_memory,
            dropout: (p > 0.0).then_some(DropoutKey { p, seed: self.args.training.seed, step: number }),
        };
        let batches = self.pieces(&step, &rows);
        let where_ = || format!("step {}, rows {}", number + 1, numbers(&rows.concat()));
        let found = step.run(&self.setup.adapter, &batches).with_context(where_)?;
        let lr = self.schedule.learning_rate(number);
        let max_norm = self.args.training.max_grad_norm;
        let norm =
            self.optimizer.update(&mut self.setup.adapter, &found.gradients, lr, max_norm).with_context(where_)?;
        let tokens: usize = batches.iter().map(Batch::tokens).sum();
        self.account(&found, tokens);
        let speed = tokens as f64 / started.elapsed().as_secs_f64();
        bar.set_message(format!("loss {:.4} lr {lr:.2e} {speed:.0} tokens/s", found.loss));
        let (now, last) = (self.state.global_step, self.state.max_steps);
        if self.args.log.every(last).is_some_and(|every| now.is_multiple_of(every)) || now == last {
            self.log_window(norm, lr)?;
        }
        Ok(found.loss)
    }

    /// The micro-batches, each cut to the memory that there is.
    fn pieces(&self, step: &Step<'_>, micro_batches: &[Vec<usize>]) -> Vec<Batch> {
        let sequences = &self.setup.train.sequences;
        let of = |rows: &Vec<usize>| rows.iter().map(|&r| &sequences[r]).collect::<Vec<_>>();
        micro_batches.iter().flat_map(|rows| step.cut(&of(rows))).collect()
    }

    fn account(&mut self, found: &StepResult, tokens: usize) {
        self.state.global_step += 1;
        self.state.epoch = self.state.global_step as f64 / self.sampler.steps_an_epoch() as f64;
        self.state.num_input_tokens_seen += tokens as u64;
        self.window.steps += 1;
        self.window.loss += found.loss;
        self.window.labels += found.labels;
        self.window.correct += found.correct;
    }

    fn log_window(&mut self, grad_norm: f64, learning_rate: f64) -> Result<()> {
        let window = std::mem::take(&mut self.window);
        let entry = json!({
            "loss": window.loss / window.steps as f64,
            "grad_norm": grad_norm,
            "learning_rate": learning_rate,
            "mean_token_accuracy": window.correct as f64 / window.labels as f64,
            "num_tokens": self.state.num_input_tokens_seen,
        });
        self.log(entry.as_object().cloned().unwrap_or_default())
    }

    /// Adds epoch and step to an entry, and writes it wherever entries go.
    fn log(&mut self, mut entry: Map<String, Value>) -> Result<()> {
        entry.insert("epoch".into(), json!(rounded(self.state.epoch, 6)));
        entry.insert("step".into(), json!(self.state.global_step));
        tracing::info!("{}", serde_json::to_string(&entry)?);
        self.metrics.write(&entry)?;
        self.state.log_history.push(entry);
        Ok(())
    }

    /// Evaluation, checkpoint and signals.
    fn after_step(&mut self) -> Result<()> {
        let Args { log, watch, .. } = self.args;
        let (step, last) = (self.state.global_step, self.state.max_steps);
        let due = |every: Option<u64>| every.is_some_and(|every| step.is_multiple_of(every));
        if due(watch.eval_every(log, last)) && step < last {
            self.evaluate_or_save()?;
        }
        let interrupted = ft_cli::interrupt::requested();
        if due(watch.save_every(last)) || interrupted {
            self.save()?;
        }
        if interrupted {
            return Err(Interrupted.into());
        }
        Ok(())
    }

    /// [`Self::evaluate`]; a signal that ends it leaves a checkpoint behind.
    fn evaluate_or_save(&mut self) -> Result<Option<Map<String, Value>>> {
        let evaluated = self.evaluate();
        if evaluated.is_err() && ft_cli::interrupt::requested() {
            self.save()?;
        }
        evaluated
    }

    /// Writes a checkpoint, where there is a folder for it.
    fn save(&self) -> Result<()> {
        let Some(output) = self.output.as_deref() else { return Ok(()) };
        let path = checkpoint::save(output, &self.setup.adapter, &self.optimizer, &self.state, &self.window)?;
        tracing::info!("wrote '{}'", path.display());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<Option<Map<String, Value>>> {
        let Some(eval) = &self.setup.eval else { return Ok(None) };
        let started = Instant::now();
        let Setup { arch, source, adapter, .. } = &self.setup;
        let decoder = Decoder { arch, source: &**source, adapter: Some(adapter) };
        let batch = self.args.training.per_device_eval_batch_size as usize;
        let Evaluation { loss, accuracy } = evaluate(&decoder, &eval.sequences, batch)?;
        let seconds = started.elapsed().as_secs_f64();
        let entry = json!({
            "eval_loss": loss,
            "eval_mean_token_accuracy": accuracy,
            "eval_runtime": rounded(seconds, 4),
            "eval_samples_per_second": rounded(eval.sequences.len() as f64 / seconds, 3),
        });
        let entry = entry.as_object().cloned().unwrap_or_default();
        self.log(entry.clone())?;
        Ok(Some(entry))
    }
}

fn optimizer_config(t: &TrainingArgs) -> OptimizerConfig {
    OptimizerConfig {
        learning_rate: t.learning_rate,
        beta1: t.adam_beta1,
        beta2: t.adam_beta2,
        eps: t.adam_epsilon,
        weight_decay: t.weight_decay,
        ..OptimizerConfig::default()
    }
}

fn fresh_state(args: &Args, steps: u64, sampler: &Sampler) -> State {
    let Args { training: t, log, watch, .. } = args;
    State {
        max_steps: steps,
        num_train_epochs: steps.div_ceil(sampler.steps_an_epoch()),
        train_batch_size: t.per_device_train_batch_size,
        logging_steps: log.every(steps).unwrap_or(0),
        eval_steps: watch.eval_every(log, steps).unwrap_or(0),
        save_steps: watch.save_every(steps).unwrap_or(0),
        ..State::default()
    }
}

/// The keys of Trainer's `train_results.json`.
fn train_results(
    state: &State,
    t: &TrainingArgs,
    steps: u64,
    loss: f64,
    seconds: f64,
    tokens: u64,
) -> Map<String, Value> {
    let samples = steps as f64 * t.sequences_a_step() as f64;
    let results = json!({
        "train_loss": loss / steps.max(1) as f64,
        "train_runtime": rounded(seconds, 4),
        "train_samples_per_second": rounded(samples / seconds, 3),
        "train_steps_per_second": rounded(steps as f64 / seconds, 3),
        "train_tokens_per_second": rounded(tokens as f64 / seconds, 3),
        "total_flos": 0.0,
        "epoch": rounded(state.epoch, 6),
    });
    results.as_object().cloned().unwrap_or_default()
}

/// Rows as people count them, from 1; the first few.
fn numbers(rows: &[usize]) -> String {
    let some: Vec<String> = rows.iter().take(16).map(|r| (r + 1).to_string()).collect();
    let more = if rows.len() > some.len() { ", …" } else { "" };
    format!("{}{more}", some.join(", "))
}
