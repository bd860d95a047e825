//! What a file says, as far as it was read.

use super::given::Given;

/// One of our arguments, as a file sets it.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Its name, in kebab case.
    pub argument: &'static str,
    pub value: String,
    /// What the file says, in words.
    pub from: String,
    /// Whether a flag or `--config` that says otherwise is an error; else it wins.
    pub agrees: bool,
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct FileSettings {
    pub settings: Vec<Setting>,
    /// Why nothing follows from some keys, and those keys with their values.
    notes: Vec<(&'static str, Vec<String>)>,
    /// `train_batch_size`: the sequences of a step.
    pub train_batch_size: Option<u64>,
    /// `total_num_steps` of a scheduler.
    pub total_steps: Option<u64>,
}

impl FileSettings {
    /// The file sets this argument; a flag wins.
    ///
    /// # Errors
    /// If it was set to something else.
    pub fn set(&mut self, argument: &'static str, value: impl Into<String>, given: &Given) -> Result<(), String> {
        self.add(Setting { argument, value: value.into(), from: said(given), agrees: false })
    }

    /// The file sets this argument, and whoever says otherwise is refused.
    ///
    /// # Errors
    /// If it was set to something else.
    pub fn fix(&mut self, argument: &'static str, value: impl Into<String>, given: &Given) -> Result<(), String> {
        self.add(Setting { argument, value: value.into(), from: said(given), agrees: true })
    }

    fn add(&mut self, setting: Setting) -> Result<(), String> {
        match self.settings.iter().find(|other| other.argument == setting.argument) {
            Some(other) if !same(&other.value, &setting.value) => {
                Err(format!("{} and {} contradict each other", other.from, setting.from))
            }
            Some(_) => Ok(()),
            None => {
                self.settings.push(setting);
                Ok(())
            }
        }
    }

    /// Whether something has set this argument.
    pub fn has(&self, argument: &str) -> bool {
        self.settings.iter().any(|setting| setting.argument == argument)
    }

    /// Nothing follows from `what`, a key and its value.
    pub fn note(&mut self, what: String, why: &'static str) {
        match self.notes.iter_mut().find(|(other, _)| *other == why) {
            Some((_, all)) => all.push(what),
            None => self.notes.push((why, vec![what])),
        }
    }

    /// A line for each reason.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        self.notes.iter().map(|(why, what)| format!("{}: accepted, without effect: {why}", what.join(", ")))
    }
}

fn said(given: &Given) -> String {
    format!("{} {}", given.key, given.word)
}

/// Whether two words say the same: 1 and 1.0 do.
pub fn same(a: &str, b: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    a == b || number(a).is_some_and(|x| number(b) == Some(x))
}
