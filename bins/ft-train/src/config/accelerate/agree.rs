//! What a file and the other arguments must say alike, as transformers' Trainer asks of DeepSpeed's.

use super::Accelerate;
use super::settings::{Setting, same};
use crate::args::Args;
use crate::config::resolved::Resolved;
use ft_io::NamedValue;
use ft_trainer::options::MixedPrecision;

impl Accelerate {
    /// Holds the file against what flags and `--config` say.
    ///
    /// # Errors
    /// One line with both values.
    pub fn require_agreement(&self, args: &Args, resolved: &Resolved) -> Result<(), String> {
        for setting in self.found.settings.iter().filter(|setting| setting.agrees) {
            let other = match setting.argument {
                "precision" => other_precision(setting, args),
                argument => other_value(setting, &argument.replace('-', "_"), resolved),
            };
            if let Some(other) = other {
                return Err(self.wrong(&format!(
                    "{}, but {other} is given; they must agree: leave one out, or write auto in the file",
                    setting.from
                )));
            }
        }
        self.batch(args)?;
        let steps = args.training.max_steps;
        match self.found.total_steps {
            Some(total) if u64::try_from(steps) != Ok(total) => Err(self.wrong(&format!(
                "scheduler.params.total_num_steps {total} must be --max-steps, found {steps}; write auto in the file"
            ))),
            _ => Ok(()),
        }
    }

    /// DeepSpeed's rule of the batch.
    fn batch(&self, args: &Args) -> Result<(), String> {
        let Some(whole) = self.found.train_batch_size else { return Ok(()) };
        let t = &args.training;
        let ranks = self.launched.unwrap_or(args.ranks.nproc_per_node as usize);
        if t.sequences_a_step(ranks) as u64 == whole {
            return Ok(());
        }
        Err(self.wrong(&format!(
            "train_batch_size {whole} must be per_device_train_batch_size {} × gradient_accumulation_steps {} × {ranks} \
             ranks = {}; change one, or write auto in the file",
            t.per_device_train_batch_size,
            t.gradient_accumulation_steps,
            t.sequences_a_step(ranks)
        )))
    }
}

/// The value that won over the file's, where it is another.
fn other_value(setting: &Setting, key: &str, resolved: &Resolved) -> Option<String> {
    let value = resolved.get(key)?;
    let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    (!same(&word, &setting.value)).then(|| format!("{key} {word} ({})", resolved.origin(key).map_or("", |o| o.name())))
}

/// The same, where `bf16` and `fp16` speak too.
fn other_precision(setting: &Setting, args: &Args) -> Option<String> {
    let p = &args.precision;
    let short = [(p.bf16, MixedPrecision::Bf16), (p.fp16, MixedPrecision::Fp16)];
    let other = short.into_iter().find(|(said, means)| *said && means.name() != setting.value);
    match other {
        _ if p.precision.name() != setting.value => Some(format!("precision {}", p.precision.name())),
        Some((_, means)) => Some(format!("{} true", means.name())),
        None => None,
    }
}
