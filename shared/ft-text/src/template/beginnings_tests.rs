//! What one rendering tells of a conversation's beginnings, against a rendering of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::*;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> Json {
    let advice = "missing: scripts/make_template_cases.py makes it";
    serde_json::from_slice(&std::fs::read(path).unwrap_or_else(|_| panic!("{}: {advice}", path.display()))).unwrap()
}

/// Conversations: messages, and the other variables.
type Chats = Vec<(Vec<Message>, Variables)>;

fn chats(file: &Json) -> Chats {
    let message = |m: &Json| Message::from_fields(m.as_object().unwrap().clone());
    let mut chats: Chats = Vec::new();
    for chat in file["chats"].as_object().unwrap().values() {
        let mut variables = chat["variables"].as_object().unwrap().clone();
        variables.insert("tools".into(), chat["tools"].clone());
        chats.push((chat["messages"].as_array().unwrap().iter().map(message).collect(), Variables::new(&variables)));
    }
    let turn = |i: usize| {
        json!([
            {"role": "user", "content": format!(" question {i} ")},
            {"role": "assistant", "content": format!("<think>\nhm {i}\n</think>\n\nanswer {i}")},
            {"role": "user", "content": "again"},
            {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "call00001", "function": {
                "name": "f", "arguments": {"x": i}}}]},
            {"role": "tool", "content": "1", "name": "f", "tool_call_id": "call00001"},
            {"role": "tool", "content": "2", "name": "f", "tool_call_id": "call00001"},
            {"role": "assistant", "content": "so", "reasoning_content": "r"},
        ])
    };
    let turns = |keep: fn(&Message) -> bool, count: usize| -> Vec<Message> {
        let all = (0..count).flat_map(|i| turn(i).as_array().unwrap().iter().map(message).collect::<Vec<_>>());
        all.filter(keep).collect()
    };
    let plain = |m: &Message| m.role() != "tool" && m.content().is_some_and(|text| !text.is_empty() && text != "so");
    let mut pairs = turns(plain, 4);
    pairs.retain(|m| m.content() != Some("again"));
    let system = |messages: &[Message]| [&[Message::new("system", "Be kind.")], messages].concat();
    for messages in [turns(|_| true, 3), pairs] {
        chats.push((system(&messages), Variables::default()));
        chats.push((messages, Variables::default()));
    }
    chats
}

/// How many beginnings were told, of how many that can be rendered; all must be equal.
fn told(template: &ChatTemplate, chats: &Chats) -> (usize, usize) {
    let (mut told, mut all) = (0, 0);
    for (messages, variables) in chats {
        let Ok(conversation) = template.conversation(messages, variables) else { continue };
        let Ok(whole) = conversation.render(messages.len(), false) else { continue };
        for prompt in [false, true] {
            let beginnings = conversation.beginnings(&whole, &vec![Some(prompt); messages.len() + 1]);
            for count in 0..=messages.len() {
                let rendered = conversation.render(count, prompt);
                all += usize::from(rendered.is_ok());
                let Some(known) = beginnings.get(&(count, prompt)) else { continue };
                let rendered = rendered.unwrap();
                let text = whole.text[..known.at].to_owned() + &known.rest;
                assert_eq!((&text, known.generated), (&rendered.text, rendered.generated.len()), "{count} {prompt}");
                told += 1;
            }
        }
    }
    (told, all)
}

#[test]
fn our_templates_and_snippets() {
    let folder = workspace().join("testdata/templates");
    let (file, snippets) = (read(&folder.join("expected.json")), read(&folder.join("snippets.json")));
    let chats = chats(&file);
    let compiled = |source: &str| ChatTemplate::new(source, &[("eos_token".into(), "</s>".into())]);
    let tools = std::fs::read_to_string(folder.join("tools.jinja")).unwrap();
    let (count, all) = told(&compiled(&tools).unwrap(), &chats);
    println!("tools.jinja: {count} of {all}");
    for snippet in snippets["snippets"].as_array().unwrap() {
        if let Ok(template) = compiled(snippet["template"].as_str().unwrap()) {
            told(&template, &chats);
        }
    }
}

/// Templates of the common forms are told whole; those that look at the end are not told wrongly.
#[test]
fn common_forms_are_told_from_one_rendering() {
    let file = read(&workspace().join("testdata/templates/expected.json"));
    let chats: Chats = chats(&file).into_iter().rev().take(4).collect();
    let prompt = "{% if add_generation_prompt %}<a>{% endif %}";
    let forms = [
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}<e>\n{% endfor %}P",
        "{% if messages[0].role == 'system' %}S{{ messages[0].content }}{% set rest = messages[1:] %}{% else %}\
         {% set rest = messages %}{% endif %}{% for m in rest %}[{{ m.role }}]{{ m.content }}{% endfor %}P",
        "{% for m in messages %}{{ m.content }}{% if loop.last and add_generation_prompt %}<a>{% endif %}{% endfor %}",
        "{% set ns = namespace(n=0, open=false) %}{% if x %}y{% else %}{% for m in messages %}\
         {% set ns.n = ns.n + 1 %}{% set ns.open = m.role == 'user' %}{{ ns.n }}{{ m.content }}{% endfor %}\
         {% if ns.open %}({{ ns.n }}){% set ns.open = false %}{% endif %}{% endif %}P",
        "{% for m in messages %}{% if loop.last or messages[loop.index0 + 1].role != m.role %}<{% endif %}\
         {{ m.content }}{% endfor %}P",
        "{% for m in messages %}{% if loop.nextitem is not defined or loop.nextitem.role != m.role %}<{% endif %}\
         {{ loop.previtem.role if loop.previtem is defined }}{{ m.content }}{% endfor %}P",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %};{% endfor %}{{ messages | length }}P",
    ];
    for form in forms {
        let template = ChatTemplate::new(&form.replace('P', prompt), &[]).unwrap();
        let (count, all) = told(&template, &chats);
        // All but that of no messages, and of what a slice leaves out.
        assert!(count + 2 * 2 * chats.len() >= all && all > 50, "{form}: {count} of {all}");
    }
    let others = [
        "{% for m in messages %}{{ loop.revindex }}{{ m.content }}{% endfor %}",
        "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
        "{% for m in messages | reverse %}{{ m.content }}{% endfor %}",
        "{% set n = messages[-1].role %}{% for m in messages %}{{ n }}{% endfor %}",
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
        "{% macro f() %}{{ messages | length }}{% endmacro %}{% for m in messages %}{{ f() }}{% endfor %}",
        "{% macro f(ns) %}{% set ns.x = 1 %}{% endmacro %}{% set ns = namespace(x=0) %}\
         {% for m in messages %}{{ f(ns) }}{{ ns.x }}{% endfor %}",
        "{% set g = messages[0].items() | map('upper') %}{% for m in messages %}{{ g | join }}{% endfor %}",
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}{% break %}{% endif %}{% endfor %}",
        "{% set t %}{% for m in messages %}{{ m.content }}{% endfor %}{% endset %}{{ t | upper }}",
        "{% for m in messages %}{{ add_generation_prompt }}{% endfor %}",
        "{% for m in messages %}{% for x in [] %}{% else %}{{ loop.last }}{% endfor %}{{ m.content }}{% endfor %}",
        "{% set a = namespace(x=0) %}{% set b = a %}{% for m in messages %}{% set a.x = a.x + 1 %}{{ b.x }}{% endfor %}",
        "{% for m in messages %}{{ 'loop.last' }}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{% for n in messages %}{{ n.role }}{% endfor %}{% endfor %}",
    ];
    for form in others {
        told(&ChatTemplate::new(form, &[]).unwrap(), &chats);
    }
}

#[test]
#[ignore = "needs the templates of 'scripts/fetch text': 'make templates' runs it"]
fn fetched_templates() {
    let chats = chats(&read(&workspace().join("testdata/templates/expected.json")));
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(workspace().join(".cache/text/templates")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let mut shares = BTreeMap::new();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "jinja")) {
        let source = std::fs::read_to_string(file).unwrap();
        let Ok(template) = ChatTemplate::new(&source, &[("bos_token".into(), "<s>".into())]) else { continue };
        let (count, all) = told(&template, &chats);
        println!("{:<60} {count:>5} of {all}", file.file_name().unwrap().to_str().unwrap());
        *shares.entry(count * 2 > all).or_insert(0) += 1;
    }
    println!("{shares:?}");
}
