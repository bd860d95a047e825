//! From what was typed to what it means.

use anyhow::Result;
use ft_model::optimizer::{OptimizerKind, SgdOptions};
use ft_trainer::options::{EvaluationOptions, LogOptions, Options, RankOptions, TrainingOptions};

use super::{Args, LogArgs, TrainingArgs, WatchArgs};

impl Args {
    /// What the run is asked for.
    ///
    /// # Errors
    /// What is wrong with `--optim-args`.
    pub fn options(&self) -> Result<Options> {
        Ok(Options {
            model: self.model.clone(),
            train: self.train.clone(),
            eval: self.eval.clone(),
            output_dir: self.output_dir.clone(),
            temporary_folder: std::env::temp_dir(),
            overwrite_output_dir: self.overwrite_output_dir,
            resume_from_checkpoint: self.resumes_from().map(Into::into),
            lora: self.lora.config(),
            init_adapter: self.lora.init_adapter.clone(),
            init_adapter_dropout: self.lora.lora_dropout,
            training: training(&self.training)?,
            rows: self.data.options(),
            log: log(&self.log),
            evaluation: self.watch.options(),
            precision: self.precision.asked(),
            tf32: self.precision.tf32 == Some(true),
            memory: self.memory.options(),
            ranks: RankOptions {
                sharding: self.ranks.sharding,
                fsdp_reshard_after_forward: self.ranks.fsdp_reshard_after_forward,
                nproc_per_node: self.ranks.nproc_per_node,
                sharing: self.ranks.sharing,
                inject_failure: self.ranks.inject_failure,
            },
            device: self.device.device,
            reference_operators: self.device.reference_operators,
            threads: self.common.thread_count(),
        })
    }
}

fn training(t: &TrainingArgs) -> Result<TrainingOptions> {
    let optim = t.optim.kind();
    let sgd = match &t.optim_args {
        Some(text) if optim == OptimizerKind::Sgd => text.parse()?,
        _ => SgdOptions::default(),
    };
    Ok(TrainingOptions {
        learning_rate: t.learning_rate,
        lr_scheduler_type: t.lr_scheduler_type,
        lr_scheduler_kwargs: t.lr_scheduler_kwargs.clone().unwrap_or_default().0,
        warmup_ratio: t.warmup_ratio,
        warmup_steps: t.warmup_steps,
        num_train_epochs: t.num_train_epochs,
        router_aux_loss_coef: t.router_aux_loss_coef.unwrap_or(0.0),
        max_steps: u64::try_from(t.max_steps).ok().filter(|&steps| steps > 0),
        per_device_train_batch_size: t.per_device_train_batch_size,
        per_device_eval_batch_size: t.per_device_eval_batch_size,
        gradient_accumulation_steps: t.gradient_accumulation_steps,
        optim,
        sgd,
        weight_decay: t.weight_decay,
        adam_beta1: t.adam_beta1,
        adam_beta2: t.adam_beta2,
        adam_epsilon: t.adam_epsilon,
        max_grad_norm: t.max_grad_norm,
        neftune_noise_alpha: t.neftune_noise_alpha,
        loraplus_lr_ratio: t.loraplus_lr_ratio,
        seed: t.seed,
    })
}

fn log(log: &LogArgs) -> LogOptions {
    LogOptions {
        logging_strategy: log.logging_strategy,
        logging_steps: log.logging_steps,
        logging_first_step: log.logging_first_step,
        report_to: log.reports(),
        log_rows: log.log_rows,
        run_name: log.run_name.clone(),
    }
}

impl WatchArgs {
    /// What they mean.
    pub fn options(&self) -> EvaluationOptions {
        EvaluationOptions {
            eval_generate: self.eval_generate.clone(),
            eval_max_new_tokens: self.eval_max_new_tokens,
            eval_strategy: self.eval_strategy(),
            eval_steps: self.eval_steps,
            eval_on_start: self.eval_on_start,
            eval_delay: self.eval_delay,
            save_strategy: self.save_strategy,
            save_steps: self.save_steps,
            save_total_limit: self.save_total_limit,
            save_best_k: self.save_best_k,
            load_best_model_at_end: self.load_best_model_at_end,
            metric_for_best_model: self.metric_for_best_model.clone(),
            greater_is_better: self.greater_is_better,
            early_stopping_patience: self.early_stopping_patience,
            early_stopping_threshold: self.early_stopping_threshold,
        }
    }
}
