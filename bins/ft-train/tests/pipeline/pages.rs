//! Every block of commands in README and docs: run on a small model, or run by a test of its own that the page names, or
//! not run here, for a reason that stands below.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::{cache, programs, run, small_model, workspace};

/// What a page's reader has where a placeholder stands.
const A_RUN: &str = "--model MODEL --train train.parquet --output-dir new";

/// Blocks that do not run here, by their page and how they begin.
const ELSEWHERE: [(&str, &str, &str); 2] = [
    ("README.md", "make install", "builds all programs; 'make dist' installs them and looks whether they run"),
    (
        "docs/gpus-and-ranks.md",
        "ft-train …",
        "wants a GPU or a launcher; 'the_ranks_commands_are_understood' parses it",
    ),
];

fn pages() -> Vec<String> {
    let docs = fs::read_dir(workspace().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut pages: Vec<String> = docs.map(|name| format!("docs/{}", name.to_str().unwrap())).collect();
    pages.retain(|page| Path::new(page).extension().is_some_and(|ending| ending == "md"));
    pages.sort();
    pages.insert(0, "README.md".into());
    pages
}

fn text(page: &str) -> String {
    fs::read_to_string(workspace().join(page)).unwrap()
}

/// The blocks of a page, each with the line before it.
fn blocks(page: &str) -> Vec<(String, String)> {
    let text = text(page);
    let pieces: Vec<&str> = text.split("```").collect();
    let fenced = pieces.windows(2).step_by(2);
    let of_shell = fenced.filter_map(|pair| Some((pair[0], pair[1].strip_prefix("sh\n")?)));
    of_shell.map(|(before, block)| (before.trim_end().lines().last().unwrap().to_owned(), block.to_owned())).collect()
}

/// A folder with what the pages' commands name: MODEL and questions.csv, and all that data.md's commands make of them.
fn folder() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    cache(scratch.path());
    let commit = "hub/models--HuggingFaceTB--SmolLM2-135M-Instruct/snapshots/0123456789abcdef0123456789abcdef01234567";
    small_model::shrink(&path(commit));
    symlink(path(commit), path("MODEL")).unwrap();
    fs::copy(path("MODEL/config.json"), path("config.json")).unwrap();
    let questions = (0..24).map(|i| format!("\"What is {i} plus {i}?\",\"It is {}.\"\n", 2 * i));
    fs::write(path("questions.csv"), "question,answer\n".to_owned() + &questions.collect::<String>()).unwrap();
    fs::copy(workspace().join("testdata/samples/professional_accounting_dev.arrow"), path("mmlu.arrow")).unwrap();
    scratch
}

/// What other pages' commands find, made of what data.md's leave.
const MORE: &str = "cp test.parquet general.parquet
ft-template --model MODEL --mode test rows/test.parquet -o prompts.parquet
cp -r adapter one
cp -r adapter two
";

#[test]
fn every_block_of_commands_runs() {
    let scratch = folder();
    let mut pages = pages();
    pages.retain(|page| page != "docs/data.md");
    let first = blocks("docs/data.md");
    assert!(!first.is_empty(), "docs/data.md begins with the commands that the others build upon");
    first.iter().for_each(|(_, block)| _ = run(scratch.path(), block));
    run(scratch.path(), MORE);
    let (mut here, mut excused) = (0, 0);
    for page in pages {
        for (before, block) in blocks(&page) {
            let elsewhere = ELSEWHERE.iter().any(|(of, begin, _)| page == *of && block.starts_with(begin));
            excused += usize::from(elsewhere);
            if elsewhere || runs_elsewhere(&before) {
                continue;
            }
            // Random weights learn less from a few rows than a model does.
            let block = block.replace('…', A_RUN).replace("--min-gain loss=0.1", "--min-gain loss=-1");
            run(scratch.path(), &block);
            here += 1;
        }
    }
    assert!(here >= 3, "only {here} blocks were found");
    assert_eq!(excused, ELSEWHERE.len(), "every exception is of a block that is there");
}

/// Whether the line before a block names the test that runs it; that test has to be there.
fn runs_elsewhere(before: &str) -> bool {
    let Some((_, rest)) = before.split_once("<!-- the test ") else { return false };
    let name = rest.split(' ').next().unwrap();
    assert!(include_str!("main.rs").contains(&format!("fn {name}()")), "{name} is no test");
    true
}

/// Launchers are not here, and what they start is: ft-train takes each of its lines, and says what it makes of it.
#[test]
fn the_ranks_commands_are_understood() {
    let scratch = tempfile::tempdir().unwrap();
    let (_, block) = blocks("docs/gpus-and-ranks.md").remove(0);
    let shell = block.split("kubectl").next().unwrap().replace("\\\n", " ");
    let mut asked = 0;
    for line in shell.lines() {
        let command = line.split('#').next().unwrap();
        let (_, arguments) = command.split_once("ft-train").unwrap_or_else(|| panic!("{line}"));
        let arguments = arguments.trim_start_matches("-mpi").replace('…', A_RUN);
        let (told, _) = run(scratch.path(), &format!("ft-train {arguments} --print-config"));
        assert!(told.contains("output_dir: \"new\""), "{line}: {told}");
        asked += 1;
    }
    assert_eq!(asked, 6, "{shell}");
    assert_eq!(
        block.matches("command: [torchrun, --no-python, ft-train, --config, recipe.yaml, --sharding, zero3]").count(),
        2
    );
}

#[test]
fn make_knows_every_target_that_is_named() {
    let makefile = text("Makefile");
    for page in pages().into_iter().chain(["CONTRIBUTING.md".into()]) {
        let text = text(&page);
        let named = text.split("`make ").skip(1).map(|rest| rest.split(['`', ' ']).next().unwrap());
        let typed = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("make "))
            .map(|rest| rest.split(' ').next().unwrap());
        for target in named.chain(typed) {
            assert!(makefile.contains(&format!("\n{target}:")), "{page}: 'make {target}'");
        }
    }
}

#[test]
fn links_between_pages_hold() {
    for page in pages() {
        let text = text(&page);
        let here = workspace().join(&page).parent().unwrap().to_path_buf();
        let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, section) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { workspace().join(&page) } else { here.join(file) };
            assert!(target.exists(), "{page}: {link}");
            let named = |line: &str| line.strip_prefix("## ").is_some_and(|heading| anchor(heading) == section);
            let holds = section.is_empty() || fs::read_to_string(&target).unwrap().lines().any(named);
            assert!(holds, "{page}: {link} names no section");
        }
    }
}

/// A heading as a link names it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_page_on_training_has_every_argument() {
    let help = Command::new(programs().join("ft-train")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let page = text("docs/training.md");
    let of = |line: &str, mark: &str| {
        let name: String = line.split_once(mark)?.1.chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect();
        (!["help", "version"].contains(&name.as_str())).then_some(name)
    };
    let indented = |line: &&str| line.starts_with("      --") || (line.starts_with("  -") && line.contains(", --"));
    let there: BTreeSet<String> = help.lines().filter(indented).filter_map(|line| of(line, "--")).collect();
    let told: BTreeSet<String> =
        page.lines().filter(|line| line.starts_with("| `--")).filter_map(|line| of(line, "--")).collect();
    assert!(there.len() > 90, "{there:?}");
    assert_eq!(there, told, "'scripts/train_arguments.py' prints the tables of docs/training.md");
}
