//! The recipe: for each step its rows, its gradients, its update; now and then a log, an evaluation, a checkpoint.

mod between_steps;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Error, Result, bail};
use ft_cli::Progress;
use ft_model::batch::{Batch, Sequence};
use ft_model::lora::Adapter;
use ft_model::optimizer::Optimizer;
use ft_model::step::{Step, StepResult};
use serde_json::Value;

use crate::args::{Args, Precision};
use crate::data::dataset::Dataset;
use crate::engine::fault;
use crate::engine::footprint::{Before, Footprint};
use crate::engine::loss_scale::LossScale;
use crate::engine::memory_forecast::Forecast;
use crate::engine::setup::Setup;
use crate::engine::step::Draws;
use crate::output::checkpoint;
use crate::output::run_record::Record;
use crate::output::watch::Watch;
use crate::plan::due::Flow;
use crate::plan::sampler::Sampler;
use crate::plan::schedule::Schedule;
use crate::run::best::Best;
use crate::run::trainer_state::{Entry, State, Window};

/// A run under way.
pub struct Trainer<'a> {
    args: &'a Args,
    pub setup: Setup,
    sampler: Sampler,
    schedule: Schedule,
    optimizer: Optimizer,
    pub state: State,
    /// What goes into the next log.
    window: Window,
    flow: Flow,
    best: Best,
    watch: Watch,
    record: Record,
    forecast: Forecast,
    footprint: Footprint,
    /// Where checkpoints go; none where the adapter goes to a pipe. The first rank alone writes there.
    output: Option<PathBuf>,
    /// The step after which the run takes no more, whatever its configuration says.
    pub until: u64,
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
    fn at(state: &State, program: Instant) -> Self {
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
    pub state: State,
    pub record: Record,
    pub forecast: Forecast,
    /// What each rank held and sent.
    pub memory_per_rank: Vec<Value>,
    /// `train_results.json` and `eval_results.json`.
    pub results: Entry,
    pub eval_results: Option<Entry>,
    /// From the program's start.
    pub seconds_to_first_step: f64,
}

/// Somebody who looks on, and may end the run.
pub trait Witness {
    /// An entry was logged.
    fn logged(&mut self, entry: &Entry) -> Result<()>;
    /// A step was taken, and all that was due after it.
    fn stepped(&mut self, step: u64, adapter: &Adapter) -> Result<()>;
}

/// Nobody.
impl Witness for () {
    fn logged(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }

    fn stepped(&mut self, _: u64, _: &Adapter) -> Result<()> {
        Ok(())
    }
}

impl<'a> Trainer<'a> {
    /// Gets ready, from the beginning or from a checkpoint.
    pub fn new(
        args: &'a Args,
        mut setup: Setup,
        mut record: Record,
        output: Option<PathBuf>,
        program: Instant,
    ) -> Result<Self> {
        let sampler = setup.sampler(args)?;
        let steps = sampler.steps(&args.training);
        let mut optimizer = setup.optimizer(args, output.as_deref())?;
        let (mut state, mut window, mut saved) =
            (fresh_state(args, setup.precision, steps, &sampler), Window::default(), None);
        let first = setup.ranks.rank() == 0;
        if let Some(path) = checkpoint::to_resume(args, output.as_deref())? {
            ft_dist::agree(&*setup.ranks, "the checkpoint to go on from", &path.display().to_string())?;
            let found = record.require_same(&path)?;
            let from = checkpoint::load(&path, optimizer)?;
            tracing::info!("going on after step {} from '{}'", from.state.global_step, path.display());
            let laid_out_anew = found.max_steps != steps;
            record.resumed(from.state.global_step, found);
            if let Some(output) = output.as_deref().filter(|output| path.parent() == Some(output)) {
                saved = Some(from.state.global_step);
                if laid_out_anew && first {
                    checkpoint::supersede(output, from.state.global_step)?;
                }
            }
            (setup.adapter, optimizer, window) = (from.adapter, from.optimizer, from.window);
            state = from.state.going_on(&state);
        }
        // Nobody writes before all have read.
        setup.ranks.barrier()?;
        record.max_steps = steps;
        let own_output = output.as_deref().filter(|_| first);
        let mut watch = Watch::start(args, own_output, &state)?;
        watch.introduce(&record, &setup.figures(&sampler, args))?;
        setup.announce(steps, args.training.sequences_a_step(setup.ranks.world()));
        record.write(own_output, "running", &Entry::new())?;
        Ok(Self {
            args,
            schedule: Schedule::new(&args.training, steps)?,
            flow: Flow::new(args, steps),
            best: Best::new(args),
            forecast: Forecast::new(&setup, &sampler, steps),
            footprint: Footprint::default(),
            until: steps,
            began: Began::at(&state, program),
            setup,
            sampler,
            optimizer,
            state,
            window,
            watch,
            record,
            output,
            saved,
        })
    }

    /// The whole run.
    ///
    /// A signal finishes the step, writes a checkpoint and ends with [`ft_io::Interrupted`].
    pub fn run(mut self) -> Result<Outcome> {
        self.take_steps(&mut ())?;
        self.finish(&mut ())
    }

    /// Takes all the steps that are left.
    pub fn take_steps(&mut self, witness: &mut dyn Witness) -> Result<()> {
        self.began.seconds_to_first_step = self.began.program.elapsed().as_secs_f64();
        self.began.steps = Instant::now();
        self.before_steps(witness)?;
        let bar = ft_cli::progress(Some(self.state.max_steps), "training");
        bar.set_position(self.state.global_step);
        while self.state.global_step < self.state.max_steps.min(self.until) && !self.best.stops(&self.state) {
            self.step(&bar)?;
            self.after_step(witness)?;
            witness.stepped(self.state.global_step, &self.setup.adapter)?;
        }
        bar.finish();
        if self.best.stops(&self.state) {
            tracing::info!("stopped after step {}: --early-stopping-patience has run out", self.state.global_step);
        }
        Ok(())
    }

    /// The summary, the best adapter, the last evaluation.
    pub fn finish(mut self, witness: &mut dyn Witness) -> Result<Outcome> {
        let results = self.train_results();
        self.log(results.clone(), witness)?;
        self.rank_best()?;
        let step = self.load_best()?;
        let eval_results = self.last_evaluation(step, witness)?;
        self.watch.draw(&self.state.log_history)?;
        self.forecast.compare();
        let memory_per_rank = self.footprint.of_all(&self.setup, &self.optimizer)?;
        let Self { setup, state, record, forecast, began, .. } = self;
        let seconds_to_first_step = began.seconds_to_first_step;
        Ok(Outcome { setup, state, record, forecast, memory_per_rank, results, eval_results, seconds_to_first_step })
    }

    /// One optimizer step.
    fn step(&mut self, bar: &Progress) -> Result<()> {
        let number = self.state.global_step;
        let started = Instant::now();
        if self.args.ranks.inject_failure == Some((self.setup.ranks.rank(), number + 1)) {
            bail!("step {}: a failure that was asked for", number + 1);
        }
        let before = Before::step(&self.setup, &self.optimizer);
        let own = self.sampler.share(number, self.setup.ranks.rank());
        let step = Step { loss_scale: self.loss_scale(), ..self.setup.step(Some(self.draws(number))) };
        let batches = pieces(&step, &self.setup.train.sequences, &own);
        let found = match step.run(&self.setup.adapter, &batches) {
            Ok(found) => found,
            Err(error) => return self.left_out(error, number),
        };
        let lr = self.schedule.learning_rate(number - self.skipped());
        let max_norm = self.args.training.max_grad_norm;
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
        bar.inc(1);
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
        Draws { seed: self.args.training.seed, step, neftune: self.args.training.neftune_noise_alpha }
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
            ft_model::Error::Ranks(_) => return Error::from(error).context(format!("step {}", number + 1)),
            ft_model::Error::NotFinite { sequence: Some(sequence), .. } if self.setup.ranks.world() > 1 => {
                fault::place(*sequence, &micro_batches, data)
            }
            // Layers that come from all ranks cannot be had by one alone.
            ft_model::Error::NotFinite { .. } if !self.setup.source.is_collective() => {
                fault::locate(&step, &self.setup.adapter, &micro_batches, data)
            }
            _ => None,
        };
        let place = place.unwrap_or_else(|| format!("rows {}", numbers(data, &micro_batches.concat())));
        Error::from(error).context(format!("step {}, {place}", number + 1))
    }
}

/// The micro-batches, each cut to the memory that there is.
pub fn pieces(step: &Step<'_>, sequences: &[Sequence], micro_batches: &[Vec<usize>]) -> Vec<Batch> {
    let of = |rows: &Vec<usize>| rows.iter().map(|&r| &sequences[r]).collect::<Vec<_>>();
    micro_batches.iter().flat_map(|rows| step.cut(&of(rows))).collect()
}

fn fresh_state(args: &Args, precision: Precision, steps: u64, sampler: &Sampler) -> State {
    let loss_scale = precision.scales_loss().then(LossScale::default);
    let Args { training: t, log, watch, .. } = args;
    State {
        max_steps: steps,
        num_train_epochs: steps.div_ceil(sampler.steps_an_epoch()),
        train_batch_size: t.per_device_train_batch_size,
        logging_steps: log.every(steps).unwrap_or(0),
        eval_steps: watch.eval_every(log, steps).unwrap_or(0),
        save_steps: watch.save_every(steps).unwrap_or(0),
        loss_scale,
        ..State::default()
    }
}

/// The rows' numbers in their file; the first few.
fn numbers(data: &Dataset, rows: &[usize]) -> String {
    let some: Vec<String> = rows.iter().take(16).map(|&row| data.row(row).to_string()).collect();
    let more = if rows.len() > some.len() { ", …" } else { "" };
    format!("{}{more}", some.join(", "))
}
