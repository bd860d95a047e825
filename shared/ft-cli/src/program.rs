//! What a program says of itself: its version, its completions, its manual pages.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, ValueEnum};
use clap_complete::Shell;

/// A program, beside what its arguments say.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name, as messages show it.
    pub name: &'static str,
    /// Cargo features that it was compiled with.
    pub features: &'static [&'static str],
    /// The instruction set of its own arithmetic on this machine, where it has any.
    pub instruction_set: Option<fn() -> &'static str>,
}

impl From<&'static str> for Program {
    fn from(name: &'static str) -> Self {
        Self { name, features: &[], instruction_set: None }
    }
}

impl Program {
    /// `--version`: name, version, commit, features, instruction set.
    pub(crate) fn version(&self) -> String {
        let mut known = vec![format!("commit {}", env!("FT_COMMIT"))];
        if !self.features.is_empty() {
            known.push(format!("features {}", self.features.join(", ")));
        }
        known.extend(self.instruction_set.map(|find| find().to_owned()));
        format!("{} {} ({})", self.name, env!("CARGO_PKG_VERSION"), known.join("; "))
    }

    /// Answers a command line that asks for completions or manual pages and for nothing else. They need none of the
    /// arguments that a program's work needs.
    ///
    /// # Errors
    /// If the answer cannot be written.
    pub(crate) fn answer(&self, words: &[OsString], command: fn() -> Command) -> Option<io::Result<()>> {
        let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap_or_default()).collect();
        let (option, value) = match words[..] {
            [option, value] => (option, value),
            [both] => both.split_once('=')?,
            _ => return None,
        };
        match option {
            "--completions" => Some(self.complete(Shell::from_str(value, true).ok()?, command())),
            "--man-pages" => Some(clap_mangen::generate_to(command(), Path::new(value))),
            _ => None,
        }
    }

    fn complete(&self, shell: Shell, mut command: Command) -> io::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, self.name, &mut script);
        let mut stdout = ft_io::output::listing();
        stdout.write_all(&script).and_then(|()| stdout.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_names_what_was_built() {
        let plain = Program::from("ft-demo").version();
        assert!(plain.starts_with("ft-demo 0.") && plain.contains("(commit ") && plain.ends_with(')'), "{plain}");
        let all = Program { features: &["cuda"], instruction_set: Some(|| "AVX2"), ..Program::from("ft-demo") };
        assert!(all.version().ends_with("; features cuda; AVX2)"), "{}", all.version());
    }
}
