//! Chat templates against transformers: our own small ones of `testdata/templates`, and
//! those of other models' makers where they were fetched.
//!
//! `scripts/make_template_cases.py` made the expected renderings.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ft_text::{ChatTemplate, Error, Message, Variables};
use serde_json::Value as Json;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// How the renderings of one template compare.
#[derive(Default)]
struct Tally {
    cases: usize,
    /// The same text and, where it has the tag, the same spans.
    equal: usize,
    /// `raise_exception` with the same words.
    refused_alike: usize,
    /// Python fails with an error of its own, and so do we.
    both_fail: usize,
    different: Vec<String>,
}

struct Cases {
    file: Json,
}

impl Cases {
    fn read(path: &Path) -> Self {
        let advice = "missing: scripts/make_template_cases.py makes it";
        let text = fs::read(path).unwrap_or_else(|_| panic!("{}: {advice}", path.display()));
        Self { file: serde_json::from_slice(&text).unwrap() }
    }

    /// The names of the templates and how each compares; `source` finds a template's text.
    fn compare(&self, source: impl Fn(&Json) -> String) -> Vec<(String, Tally)> {
        let templates = self.file["templates"].as_array().unwrap();
        templates.iter().map(|t| (t["name"].as_str().unwrap().to_owned(), self.tally(t, &source(t)))).collect()
    }

    fn tally(&self, entry: &Json, source: &str) -> Tally {
        let tokens: BTreeMap<String, String> = serde_json::from_value(entry["tokens"].clone()).unwrap();
        let mut compiled = ChatTemplate::new(source, &tokens.into_iter().collect::<Vec<_>>());
        if let Ok(template) = &mut compiled {
            template.set_clock(self.file["now"].as_str().unwrap().parse().unwrap());
        }
        let mut tally = Tally::default();
        for case in entry["cases"].as_array().unwrap() {
            tally.cases += 1;
            let ours = match &compiled {
                Ok(template) => self.render(template, case),
                Err(e) => Err(e.to_string()),
            };
            match judge(case, &ours) {
                Verdict::Equal => tally.equal += 1,
                Verdict::RefusedAlike => tally.refused_alike += 1,
                Verdict::BothFail => tally.both_fail += 1,
                Verdict::Different => {
                    let place = format!("{} {}", case["chat"], case["prompt"]);
                    tally.different.push(format!("{place}\n  ours   {ours:?}\n  theirs {}", theirs(case)));
                }
            }
        }
        tally
    }

    fn render(&self, template: &ChatTemplate, case: &Json) -> Result<(String, Vec<[usize; 2]>), String> {
        let chat = &self.file["chats"][case["chat"].as_str().unwrap()];
        let message = |m: &Json| Message::from_fields(m.as_object().unwrap().clone());
        let messages: Vec<Message> = chat["messages"].as_array().unwrap().iter().map(message).collect();
        let mut variables = chat["variables"].as_object().unwrap().clone();
        variables.insert("tools".into(), chat["tools"].clone());
        let prompt = case["prompt"].as_bool().unwrap();
        match template.render_with(&messages, &Variables::new(&variables), prompt) {
            Ok(rendered) => {
                let count = |end: usize| rendered.text[..end].chars().count();
                let spans = rendered.generated.iter().map(|s| [count(s.start), count(s.end)]).collect();
                Ok((rendered.text, spans))
            }
            Err(Error::Template(words)) => Err(words),
            Err(other) => panic!("{other}"),
        }
    }
}

enum Verdict {
    Equal,
    RefusedAlike,
    BothFail,
    Different,
}

fn judge(case: &Json, ours: &Result<(String, Vec<[usize; 2]>), String>) -> Verdict {
    match ours {
        Ok((text, spans)) => {
            let theirs: Vec<[usize; 2]> = serde_json::from_value(case["spans"].clone()).unwrap_or_default();
            if case["text"].as_str() == Some(text) && *spans == theirs { Verdict::Equal } else { Verdict::Different }
        }
        Err(words) if case["raised"].as_str() == Some(words) => Verdict::RefusedAlike,
        Err(_) if case["error"].is_string() => Verdict::BothFail,
        Err(_) => Verdict::Different,
    }
}

fn theirs(case: &Json) -> String {
    let kind = ["text", "raised", "error"].into_iter().find(|k| case[*k].is_string()).unwrap_or("nothing");
    format!("{kind} {}", case[kind])
}

/// Prints the table and gives the number of differences.
fn table(tallies: &[(String, Tally)], shown: usize) -> usize {
    println!("{:<52} cases  equal  refused alike  both fail  different", "template");
    let row = |name: &str, t: [usize; 5]| {
        println!("{name:<52} {:>5}  {:>5}  {:>13}  {:>9}  {:>9}", t[0], t[1], t[2], t[3], t[4]);
        t
    };
    let mut total = [0; 5];
    for (name, t) in tallies {
        let counts = row(name, [t.cases, t.equal, t.refused_alike, t.both_fail, t.different.len()]);
        total.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
    }
    row("all", total);
    for (name, tally) in tallies {
        for difference in tally.different.iter().take(shown) {
            println!("\n{name}: {difference}");
        }
    }
    total[4]
}

#[test]
fn our_own_templates_render_as_in_transformers() {
    let folder = workspace().join("testdata/templates");
    let cases = Cases::read(&folder.join("expected.json"));
    let tallies = cases.compare(|t| fs::read_to_string(folder.join(t["name"].as_str().unwrap())).unwrap());
    assert_eq!(table(&tallies, usize::MAX), 0);
    assert!(tallies.iter().all(|(_, t)| t.equal > 50));
}

#[test]
fn snippets_render_as_in_transformers() {
    let cases = Cases::read(&workspace().join("testdata/templates/snippets.json"));
    let mut different = Vec::new();
    let snippets = cases.file["snippets"].as_array().unwrap();
    for snippet in snippets {
        let mut entry = snippet.clone();
        entry["chat"] = "calls".into();
        entry["prompt"] = false.into();
        let tokens = serde_json::json!({"bos_token": "<s>", "eos_token": "</s>"});
        let source = snippet["template"].as_str().unwrap();
        let tally = cases.tally(&serde_json::json!({"tokens": tokens, "cases": [entry]}), source);
        different.extend(tally.different.into_iter().map(|d| format!("{source}\n{d}")));
    }
    assert!(different.is_empty(), "{} of {} differ:\n{}", different.len(), snippets.len(), different.join("\n\n"));
    assert!(snippets.len() > 150);
}

#[test]
#[ignore = "needs the templates of 'scripts/fetch text': 'make templates' runs it"]
fn fetched_templates_render_as_in_transformers() {
    let cases = Cases::read(&workspace().join(".cache/text/cases.json"));
    let shown = std::env::var("FT_TEST_SHOWN").map_or(1, |n| n.parse().unwrap());
    let tallies = cases.compare(|t| t["source"].as_str().unwrap().to_owned());
    assert_eq!(table(&tallies, shown), 0);
}
