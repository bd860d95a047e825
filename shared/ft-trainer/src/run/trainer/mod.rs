//! The recipe: for each step its rows, its gradients, its update; now and then a log, an evaluation, a checkpoint.

mod between_steps;
mod examination;

use std::time::Instant;

use ft_kernels::backend::Precision;
use ft_model::optimizer::Optimizer;
use ft_model::step::{Step, StepResult};
use serde_json::Value;

use crate::data::dataset::Dataset;
use crate::engine::fault;
use crate::engine::footprint::{Before, Footprint};
use crate::engine::loss_scale::LossScale;
use crate::engine::memory_forecast::MemoryForecast;
use crate::engine::setup::Setup;
use crate::engine::step::{Draws, pieces};
use crate::error::{Error, Result};
use crate::json::Entry;
use crate::options::Options;
use crate::plan::due::Due;
use crate::plan::sampler::Sampler;
use crate::plan::schedule::Schedule;
use crate::run::best::BestTracker;
use crate::run::trainer_state::{LogWindow, TrainerState};
use crate::run::{CheckpointStore, Examiner, Observer};
use ft_io::progress::ProgressBar;

/// A run under way.
pub struct Trainer<'a> {
    options: &'a Options,
    pub setup: Setup,
    sampler: Sampler,
    schedule: Schedule,
    optimizer: Optimizer,
    pub state: TrainerState,
    /// What goes into the next log.
    window: LogWindow,
    due: Due,
    best: BestTracker,
    forecast: MemoryForecast,
    footprint: Footprint,
    /// The step after which the run takes no more, whatever its configuration says.
    pub until: u64,
    /// Who asks the model questions whenever it is evaluated.
    pub examiner: Option<Box<dyn Examiner>>,
    /// The step of the newest checkpoint.
    saved: Option<u64>,
    began: Began,
}

/// Where this process took the run up.
struct Began {
    program: Instant,
    steps: Instant,
    step: u64,
    tokens: u64,
    /// The sum of the losses of all steps since, and how many were not left out.
    loss: f64,
    taken: u64,
    seconds_to_first_step: f64,
}

impl Began {
    fn at(state: &TrainerState, program: Instant) -> Self {
        Self {
            program,
            steps: Instant::now(),
            step: state.global_step,
            tokens: state.num_input_tokens_seen,
            loss: 0.0,
            taken: 0,
            seconds_to_first_step: 0.0,
        }
    }
}

/// How the run went.
pub struct Outcome {
    pub setup: Setup,
    pub state: TrainerState,
    pub forecast: MemoryForecast,
    /// What each rank held and sent.
    pub memory_per_rank: Vec<Value>,
    /// `train_results.json` and `eval_results.json`.
    pub results: Entry,
    pub eval_results: Option<Entry>,
    /// From the program's start.
    pub seconds_to_first_step: f64,
}

/// Where what a run finds goes.
pub struct Outlets<'a> {
    pub observer: &'a mut dyn Observer,
    pub checkpoints: &'a mut dyn CheckpointStore,
}

impl<'a> Trainer<'a> {
    /// Gets ready, from the beginning or from a checkpoint; `program` is when the program began.
    ///
    /// # Errors
    /// If the options contradict the data, or what the run is to go on from cannot be had.
    pub fn new(
        options: &'a Options,
        mut setup: Setup,
        checkpoints: &mut dyn CheckpointStore,
        program: Instant,
    ) -> Result<Self> {
        let sampler = setup.sampler(options)?;
        let steps = sampler.steps(&options.training);
        let mut optimizer = setup.optimizer(options, checkpoints.folder())?;
        let fresh = fresh_state(options, setup.compute.precision, steps, &sampler);
        let (mut state, mut window, mut saved) = (fresh.clone(), LogWindow::default(), None);
        if let Some(from) = checkpoints.resume(&mut optimizer, steps, &*setup.ranks)? {
            saved = from.is_own.then_some(from.state.global_step);
            (setup.adapter, window) = (from.adapter, from.window);
            state = from.state.going_on(&fresh);
        }
        // Nobody writes before all have read.
        setup.ranks.barrier()?;
        Ok(Self {
            options,
            schedule: Schedule::new(&options.training, steps)?,
            due: Due::new(options, steps),
            best: BestTracker::new(&options.evaluation),
            forecast: MemoryForecast::new(&setup, &sampler, steps),
            footprint: Footprint::default(),
            until: steps,
            examiner: None,
            began: Began::at(&state, program),
            setup,
            sampler,
            optimizer,
            state,
            window,
            saved,
        })
    }

    /// Logs what will happen.
    pub fn announce(&self) {
        let sequences = self.options.training.sequences_a_step(self.setup.ranks.world());
        self.setup.announce(self.state.max_steps, sequences);
    }

    /// The whole run.
    ///
    /// A signal finishes the step, writes a checkpoint and ends with [`ft_io::Interrupted`].
    ///
    /// # Errors
    /// What ended the run: a number that is not finite and where it is, a file that cannot be written, another rank's
    /// failure, or what the observer says.
    pub fn run(mut self, to: &mut Outlets<'_>) -> Result<Outcome> {
        self.take_steps(to)?;
        self.finish(to)
    }

    /// Takes all the steps that are left.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn take_steps(&mut self, to: &mut Outlets<'_>) -> Result<()> {
        to.observer.started(&self.state, &self.setup.figures(&self.sampler, self.options))?;
        self.began.seconds_to_first_step = self.began.program.elapsed().as_secs_f64();
        self.began.steps = Instant::now();
        self.before_steps(to)?;
        let bar = self.setup.progress.begin("training", self.state.max_steps);
        bar.set_position(self.state.global_step);
        while self.state.global_step < self.state.max_steps.min(self.until) && !self.best.stops(&self.state) {
            self.step(&*bar, to)?;
            self.after_step(to)?;
            to.observer.stepped(self.state.global_step, &self.setup.adapter)?;
        }
        drop(bar);
        if self.best.stops(&self.state) {
            tracing::info!("stopped after step {}: --early-stopping-patience has run out", self.state.global_step);
        }
        Ok(())
    }

    /// The summary, the best adapter, the last evaluation.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn finish(mut self, to: &mut Outlets<'_>) -> Result<Outcome> {
        let results = self.train_results();
        self.log(results.clone(), to)?;
        self.rank_best(to)?;
        let step = self.load_best(to)?;
        let eval_results = self.last_evaluation(step, to)?;
        to.observer.finished(&self.state.log_history)?;
        self.forecast.compare();
        let memory_per_rank = self.footprint.of_all(&self.setup, &self.optimizer)?;
        let Self { setup, state, forecast, began, .. } = self;
        let seconds_to_first_step = began.seconds_to_first_step;
        Ok(Outcome { setup, state, forecast, memory_per_rank, results, eval_results, seconds_to_first_step })
    }

    /// One optimizer step.
    fn step(&mut self, bar: &dyn ProgressBar, to: &mut Outlets<'_>) -> Result<()> {
        let number = self.state.global_step;
        let started = Instant::now();
        if self.options.ranks.inject_failure == Some((self.setup.ranks.rank(), number + 1)) {
            return Err(Error::Injected(number + 1));
        }
        to.observer.begins(number + 1, &self.setup.train, &|| self.sampler.step(number).concat())?;
        let before = Before::step(&self.setup, &self.optimizer);
        let own = self.sampler.share(number, self.setup.ranks.rank());
        let step = Step { loss_scale: self.loss_scale(), ..self.setup.step(Some(self.draws(number))) };
        let batches = pieces(&step, &self.setup.train.sequences, &own);
        let found = match step.run(&self.setup.adapter, &batches) {
            Ok(found) => found,
            Err(error) => return self.left_out(error, number),
        };
        to.observer.computed(number + 1, &found)?;
        let lr = self.schedule.learning_rate(number - self.skipped());
        let max_norm = self.options.training.max_grad_norm;
        let ranks = &*self.setup.ranks;
        let norm = match self.optimizer.update(&mut self.setup.adapter, &found.gradients, lr, max_norm, ranks) {
            Ok(norm) => norm,
            Err(error) => return self.left_out(error, number),
        };
        self.footprint.stepped(&before, &self.setup, &self.optimizer, &found);
        self.state.loss_scale.iter_mut().for_each(LossScale::stepped);
        let tokens = self.sampler.tokens(number);
        self.account(&found, tokens, norm, lr);
        self.forecast.after_step(&batches);
        let speed = tokens as f64 / started.elapsed().as_secs_f64();
        bar.set_message(format!("loss {:.4} lr {lr:.2e} {speed:.0} tokens/s", found.loss));
        bar.advance(1);
        Ok(())
    }

    fn loss_scale(&self) -> f64 {
        self.state.loss_scale.as_ref().map_or(1.0, |scale| scale.scale)
    }

    /// Steps that were left out so far: the schedule does not count them, as accelerate's does not.
    fn skipped(&self) -> u64 {
        self.state.loss_scale.as_ref().map_or(0, |scale| scale.skipped)
    }

    /// A step that failed: in half precision one whose loss or gradient is not finite is left out and the scale
    /// halved; else the run ends.
    fn left_out(&mut self, error: ft_model::Error, number: u64) -> Result<()> {
        let not_finite = matches!(error, ft_model::Error::NotFinite { .. });
        if let Some(scale) = self.state.loss_scale.as_mut().filter(|_| not_finite) {
            let helps = scale.skipped();
            tracing::warn!("step {}: {error}; it is left out, and the loss scale is now {}", number + 1, scale.scale);
            if helps {
                let tokens = self.sampler.tokens(number);
                self.pass(tokens);
                return Ok(());
            }
        }
        Err(self.fault(error))
    }

    fn draws(&self, step: u64) -> Draws {
        Draws { seed: self.options.training.seed, step, neftune: self.options.training.neftune_noise_alpha }
    }

    fn account(&mut self, found: &StepResult, tokens: usize, grad_norm: f64, learning_rate: f64) {
        self.began.loss += found.loss;
        self.began.taken += 1;
        self.pass(tokens);
        self.window.steps += 1;
        self.window.loss += found.loss;
        self.window.labels += found.labels;
        self.window.correct += found.correct;
        (self.window.grad_norm, self.window.learning_rate) = (grad_norm, learning_rate);
    }

    /// A step is over.
    fn pass(&mut self, tokens: usize) {
        let state = &mut self.state;
        state.global_step += 1;
        state.epoch = state.global_step as f64 / self.sampler.steps_an_epoch() as f64;
        state.num_input_tokens_seen += tokens as u64;
        state.total_flos = state.num_input_tokens_seen as f64 * self.setup.flops_a_token();
    }

    /// What was wrong with a step: its number, and where it can be told, the micro-batch and the row.
    fn fault(&self, error: ft_model::Error) -> Error {
        let (data, number) = (&self.setup.train, self.state.global_step);
        let micro_batches = self.sampler.step(number);
        let step = self.setup.step(Some(self.draws(number)));
        let place = match &error {
            // A failure elsewhere has nothing to do with the rows here.
            ft_model::Error::Ranks(_) => return Error::from(error).at(format!("step {}", number + 1)),
            ft_model::Error::NotFinite { sequence: Some(sequence), .. } if self.setup.ranks.world() > 1 => {
                fault::place(*sequence, &micro_batches, data)
            }
            // Layers that come from all ranks cannot be had by one alone.
            ft_model::Error::NotFinite { .. } if !self.setup.source.is_collective() => {
                fault::locate(&step, &self.setup.adapter, &micro_batches, data)
            }
            _ => None,
        };
        let place = place.unwrap_or_else(|| rows_of(data, &micro_batches.concat()));
        Error::from(error).at(format!("step {}, {place}", number + 1))
    }
}

fn fresh_state(options: &Options, precision: Precision, steps: u64, sampler: &Sampler) -> TrainerState {
    let loss_scale = precision.scales_loss().then(LossScale::default);
    let Options { training: t, log, evaluation, .. } = options;
    TrainerState {
        max_steps: steps,
        num_train_epochs: steps.div_ceil(sampler.steps_an_epoch()),
        train_batch_size: t.per_device_train_batch_size,
        logging_steps: log.every(steps).unwrap_or(0),
        eval_steps: evaluation.eval_every(log, steps).unwrap_or(0),
        save_steps: evaluation.save_every(steps).unwrap_or(0),
        loss_scale,
        ..TrainerState::default()
    }
}

/// The rows, the first few: their numbers in the file, and what they were made of where that is known.
fn rows_of(data: &Dataset, rows: &[usize]) -> String {
    let is_told = rows.iter().any(|&row| data.source(row).is_some());
    let name = |&row: &usize| if is_told { data.place(row) } else { data.row(row).to_string() };
    let some: Vec<String> = rows.iter().take(16).map(name).collect();
    let more = if rows.len() > some.len() { ", …" } else { "" };
    let before = if is_told { "" } else { "rows " };
    format!("{before}{}{more}", some.join(", "))
}
