//! For tests: options from the words that `ft-train` takes for them.

use std::str::FromStr;

use ft_io::NamedValue;

use super::{Options, SchedulerType};

/// The options of a few flags; a word that is none of them fails the test.
pub fn options(words: &[&str]) -> Options {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(flag) = words.next() {
        let (t, rows) = (&mut options.training, &mut options.rows);
        match *flag {
            "--no-shuffle" => rows.shuffle = false,
            "--group-by-length" => rows.group_by_length = true,
            "--packing" => rows.packing = true,
            "--dataloader-drop-last" => rows.dataloader_drop_last = true,
            flag => {
                let value = words.next().unwrap();
                match flag {
                    "--data-seed" => rows.data_seed = Some(number(value)),
                    "--max-seq-length" => rows.max_seq_length = Some(number(value)),
                    "--seed" => t.seed = number(value),
                    "--max-steps" => t.max_steps = Some(number(value)),
                    "--num-train-epochs" => t.num_train_epochs = number(value),
                    "--per-device-train-batch-size" => t.per_device_train_batch_size = number(value),
                    "--gradient-accumulation-steps" => t.gradient_accumulation_steps = number(value),
                    "--learning-rate" => t.learning_rate = number(value),
                    "--warmup-steps" => t.warmup_steps = number(value),
                    "--warmup-ratio" => t.warmup_ratio = number(value),
                    "--lr-scheduler-type" => t.lr_scheduler_type = SchedulerType::named(value).unwrap(),
                    "--lr-scheduler-kwargs" => t.lr_scheduler_kwargs = serde_json::from_str(value).unwrap(),
                    flag => panic!("{flag}"),
                }
            }
        }
    }
    options
}

fn number<T: FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("{word}"))
}
