//! The files of one run, held against each other: no output may take the place of an input or of another output.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::output::resolve;
use crate::{Source, Target};

/// What a program reads and writes. Tell it all inputs first, then each output.
///
/// Two names are one file where they lead to one path, through links and `..`, or where the system says that both are
/// the same file (hard links, bind mounts, a file behind standard input). Terminals and devices are nobody's own.
#[derive(Clone, Debug, Default)]
pub struct Distinct {
    known: Vec<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    /// The argument or option that names it.
    option: String,
    name: String,
    is_input: bool,
    path: Option<PathBuf>,
    identity: Option<Identity>,
}

type Identity = (u64, u64);

impl Distinct {
    /// No file yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file that is read. Of a folder, those files are meant that models, adapters and their tokenizers are read from.
    pub fn input(&mut self, option: &str, source: &Source) {
        let Some(path) = source.path() else {
            let found = crate::input::stdin_file().and_then(|file| file.metadata());
            let identity = found.ok().filter(Metadata::is_file).and_then(|found| identity(&found));
            self.add(option, source.name(), true, None, identity);
            return;
        };
        self.add_path(option, path);
        for file in fs::read_dir(path).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path()) {
            if is_of_a_model(&file) && file.is_file() {
                self.add_path(option, &file);
            }
        }
    }

    fn add_path(&mut self, option: &str, path: &Path) {
        let identity = fs::metadata(path).ok().and_then(|found| identity(&found));
        self.add(option, path.display().to_string(), true, Some(resolve(path)), identity);
    }

    /// A file that is written.
    ///
    /// # Errors
    /// [`Error::SameFile`] if it is one of the inputs or of the outputs before.
    pub fn output(&mut self, option: &str, target: &Target) -> Result<(), Error> {
        let (path, found) = match target {
            Target::Path(path) if crate::output::is_device(path) => return Ok(()),
            Target::Path(path) => (Some(resolve(path)), fs::metadata(path).ok()),
            Target::Stdout => (None, crate::output::stdout_metadata().filter(|found| !is_character_device(found))),
        };
        let identity = found.as_ref().and_then(identity);
        let same = |known: &&Known| {
            let one_path = known.path.is_some() && known.path == path;
            let both_stdout = path.is_none() && known.path.is_none() && !known.is_input;
            one_path || both_stdout || (known.identity.is_some() && known.identity == identity)
        };
        if let Some(known) = self.known.iter().find(same) {
            return Err(known.taken_by(option, &target.name()));
        }
        self.add(option, target.name(), false, path, identity);
        Ok(())
    }

    /// A folder that is written: it may neither be nor hold an input.
    ///
    /// # Errors
    /// [`Error::SameFile`].
    pub fn output_folder(&mut self, option: &str, path: &Path) -> Result<(), Error> {
        let (name, folder) = (path.display().to_string(), resolve(path));
        let identity = fs::metadata(path).ok().and_then(|found| identity(&found));
        let held = |known: &&Known| {
            let inside = known.path.as_ref().is_some_and(|other| other.starts_with(&folder));
            inside || (known.identity.is_some() && known.identity == identity)
        };
        if let Some(known) = self.known.iter().find(held) {
            return Err(known.taken_by(option, &name));
        }
        self.add(option, name, false, Some(folder), identity);
        Ok(())
    }

    fn add(&mut self, option: &str, name: String, is_input: bool, path: Option<PathBuf>, identity: Option<Identity>) {
        self.known.push(Known { option: option.into(), name, is_input, path, identity });
    }
}

impl Known {
    fn taken_by(&self, option: &str, name: &str) -> Error {
        let kind = if self.is_input { "is read" } else { "is written too" };
        Error::SameFile {
            option: option.into(),
            name: name.into(),
            other: format!("'{}', which {kind} ({})", self.name, self.option),
        }
    }
}

/// Whether models, adapters or tokenizers are read from files of this name.
fn is_of_a_model(path: &Path) -> bool {
    const NAMES: [&str; 10] = [
        "config.json",
        "generation_config.json",
        "adapter_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.json",
    ];
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let endings = [".safetensors", ".safetensors.index.json", ".gguf", ".jinja", ".model"];
    NAMES.contains(&&*name) || endings.iter().any(|ending| name.ends_with(ending))
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere there is none")]
fn identity(found: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    Some((found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<Identity> {
    None
}

#[cfg(unix)]
fn is_character_device(found: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_char_device()
}

#[cfg(not(unix))]
fn is_character_device(found: &Metadata) -> bool {
    !found.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &Path) -> Target {
        Target::Path(path.into())
    }

    #[test]
    fn an_input_is_found_again_under_every_name() {
        let home = tempfile::tempdir().unwrap();
        let input = home.path().join("a.csv");
        fs::create_dir(home.path().join("sub")).unwrap();
        fs::write(&input, "x").unwrap();
        fs::hard_link(&input, home.path().join("hard")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("a.csv", home.path().join("soft")).unwrap();
        let mut files = Distinct::new();
        files.input("INPUT", &Source::Path(input));
        for name in ["a.csv", "sub/../a.csv", "hard", "soft", "./a.csv"] {
            let error = files.output("--report", &target(&home.path().join(name))).unwrap_err();
            assert!(error.to_string().contains("a.csv', which is read (INPUT)"), "{name}: {error}");
        }
        files.output("--report", &target(&home.path().join("b.csv"))).unwrap();
    }

    #[test]
    fn two_outputs_are_two_files_before_either_is_there() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("sub")).unwrap();
        let mut files = Distinct::new();
        files.output("-o", &target(&home.path().join("new"))).unwrap();
        let error = files.output("--report", &target(&home.path().join("sub/../new"))).unwrap_err();
        assert!(error.to_string().contains("which is written too (-o)"), "{error}");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("new", home.path().join("dangling")).unwrap();
            files.output("--report", &target(&home.path().join("dangling"))).unwrap_err();
        }
        files.output("-o", &Target::Stdout).unwrap();
        files.output("--report", &Target::Stdout).unwrap_err();
        for _ in 0..2 {
            files.output("--json", &target(Path::new("/dev/null"))).unwrap();
        }
    }

    #[test]
    fn a_models_files_are_inputs_and_a_report_beside_them_is_not() {
        let home = tempfile::tempdir().unwrap();
        for name in ["config.json", "model.safetensors", "figures.json"] {
            fs::write(home.path().join(name), "x").unwrap();
        }
        let mut files = Distinct::new();
        files.input("--model", &Source::Path(home.path().into()));
        files.output("--report", &target(&home.path().join("config.json"))).unwrap_err();
        files.output("--report", &target(&home.path().join("model.safetensors"))).unwrap_err();
        files.output("--report", &target(&home.path().join("figures.json"))).unwrap();
    }

    #[test]
    fn a_folder_that_holds_an_input_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let model = home.path().join("run/base");
        fs::create_dir_all(&model).unwrap();
        let mut files = Distinct::new();
        files.input("--model", &Source::Path(model.clone()));
        for folder in ["run/base", "run", "", "run/base/.."] {
            files.output_folder("-o", &home.path().join(folder)).unwrap_err();
        }
        files.output_folder("-o", &model.join("merged")).unwrap();
    }
}
