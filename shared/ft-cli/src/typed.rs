//! What was typed, as provenance keeps it.

use std::ffi::OsString;
use std::path::Path;

use ft_io::Source;

/// Common arguments, which never change a result.
const COMMON_FLAGS: [&str; 5] = ["-q", "--quiet", "-v", "--verbose", "--overwrite"];
const COMMON_VALUES: [&str; 2] = ["--log-format", "--threads"];

/// The arguments of this process that shape its result, as typed, for
/// [`ft_io::Provenance::arguments`].
///
/// Left out are the common arguments, the options in `left_out` with their
/// values (where the output goes: `["-o", "--output"]`) and the `inputs`,
/// whose digests say more. A value that names an existing file or folder is
/// cut to its last part.
pub fn typed_arguments(left_out: &[&str], inputs: &[&Source]) -> Vec<String> {
    filter(std::env::args_os().skip(1), left_out, inputs)
}

fn filter(arguments: impl Iterator<Item = OsString>, left_out: &[&str], inputs: &[&Source]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut skip_value = false;
    for argument in arguments {
        let text = argument.to_string_lossy().into_owned();
        if std::mem::take(&mut skip_value) || COMMON_FLAGS.contains(&text.as_str()) {
            continue;
        }
        let (name, value) = split(&text);
        if COMMON_VALUES.contains(&name) || left_out.contains(&name) {
            skip_value = value.is_none();
            continue;
        }
        if inputs.contains(&&Source::parse(&argument)) {
            continue;
        }
        kept.push(match value {
            Some(value) if name.starts_with("--") => format!("{name}={}", last_part(value)),
            _ => last_part(&text).to_owned(),
        });
    }
    kept
}

/// `--name=value` and `-nVALUE` into name and value.
fn split(text: &str) -> (&str, Option<&str>) {
    if text.starts_with("--") {
        match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        }
    } else if text.starts_with('-') && text.len() > 2 && text.is_char_boundary(2) {
        (&text[..2], Some(&text[2..]))
    } else {
        (text, None)
    }
}

/// The last part of a path that exists, anything else as it is.
fn last_part(text: &str) -> &str {
    let path = Path::new(text);
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) if text.contains('/') && path.exists() => name,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = OsString> {
        line.split(' ').map(OsString::from)
    }

    #[test]
    fn where_files_lie_does_not_show() {
        let a = Source::parse("x/a.csv");
        let left_out = ["-o", "--output"];
        let line = "x/a.csv --seed 1 -o out -q --threads=2 --log-format json";
        assert_eq!(filter(words(line), &left_out, &[&a]), ["--seed", "1"]);
        let line = "--seed 1 --output=out -oout2 -";
        assert_eq!(filter(words(line), &left_out, &[&Source::Stdin]), ["--seed", "1"]);
    }

    #[test]
    fn existing_paths_are_cut_to_their_last_part() {
        let home = tempfile::tempdir().unwrap();
        let model = home.path().join("model");
        std::fs::create_dir(&model).unwrap();
        let line = format!("--model {0} --base={0} --prefix a/b", model.display());
        assert_eq!(filter(words(&line), &[], &[]), ["--model", "model", "--base=model", "--prefix", "a/b"]);
    }
}
