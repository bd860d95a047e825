use std::path::Path;

use serde_json::{Value, json};

use super::*;

const MARK: &str = "\u{2581}";

fn question(text: &str, choices: &[&str]) -> Question {
    let choices = choices.iter().map(|&choice| choice.to_owned()).collect();
    Question { place: "q, row 1".into(), text: text.into(), choices, answer: 0, subject: None }
}

/// A BPE of single characters and a few merges, with `pipeline` before it, asked in `template` if there is one.
fn model(pipeline: &Value, template: Option<&str>) -> TextModel {
    const MERGES: [&str; 6] = ["\u{2581} A", "\u{2581} B", "y e", "ye s", "\u{2581} yes", "] ("];
    let folder = tempfile::tempdir().unwrap();
    let single = [String::from("<unk>"), MARK.into(), "\n".into()];
    let tokens = single.into_iter().chain((' '..='~').map(String::from)).chain(MERGES.map(|m| m.replace(' ', "")));
    let vocabulary: serde_json::Map<String, Value> = tokens.zip((0..).map(|id: u32| json!(id))).collect();
    let mut tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": MERGES},
    });
    for (key, value) in pipeline.as_object().unwrap() {
        tokenizer[key] = value.clone();
    }
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    if let Some(template) = template {
        std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    }
    TextModel::open(folder.path()).unwrap()
}

/// The pipelines of Llama 2, of Gemma, and of newer conversions.
fn kinds() -> [Value; 3] {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let prepend = json!({"type": "Prepend", "prepend": "\u{2581}"});
    let metaspace = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first", "split": false});
    [
        json!({"normalizer": {"type": "Sequence", "normalizers": [prepend, replace]}}),
        json!({"normalizer": replace}),
        json!({"pre_tokenizer": metaspace}),
    ]
}

/// What is asked, in the tokens' own letters: the end of the prompt, and the choices.
fn asked(text: TextModel, format: Format, question: &Question) -> (String, Vec<String>) {
    let tokenizer = text.tokenizer.clone();
    let asked = Asker::new(text, format, false).ask_all(std::slice::from_ref(question), None).unwrap().remove(0);
    let names = |ids: &[u32]| ids.iter().map(|&id| tokenizer.id_to_token(id).unwrap()).collect::<Vec<_>>().join("|");
    let prompt = &asked.prompt[asked.prompt.len() - 3..];
    (names(prompt), asked.choices.iter().map(|ids| names(ids)).collect())
}

#[test]
fn no_kind_of_tokenizer_has_a_lone_word_mark_before_a_choice() {
    for kind in kinds() {
        let q = question("Is it?", &["yes", "no"]);
        let (prompt, choices) = asked(model(&kind, None), Format::Letters, &q);
        assert_eq!((prompt.as_str(), choices), ("e|r|:", vec!["\u{2581}A".to_owned(), "\u{2581}B".into()]), "{kind}");
        let (prompt, choices) = asked(model(&kind, None), Format::Text, &q);
        assert_eq!(
            (prompt.as_str(), choices),
            ("e|r|:", vec!["\u{2581}yes".to_owned(), "\u{2581}|n|o".into()]),
            "{kind}"
        );
    }
}

#[test]
fn after_a_template_no_kind_of_tokenizer_puts_a_mark_before_a_choice() {
    const TEMPLATE: &str = "[INST] {{ messages[0]['content'] }} [/INST]";
    for kind in kinds() {
        let q = question("Is it?", &["yes", "no"]);
        let (prompt, choices) = asked(model(&kind, Some(TEMPLATE)), Format::Letters, &q);
        assert_eq!((prompt.as_str(), choices), ("S|T|]", vec!["A".to_owned(), "B".into()]), "{kind}");
        let (prompt, choices) = asked(model(&kind, Some(TEMPLATE)), Format::Text, &q);
        assert_eq!((prompt.as_str(), choices), ("S|T|]", vec!["yes".to_owned(), "n|o".into()]), "{kind}");
    }
}

#[test]
fn a_space_or_line_at_the_end_of_the_question_goes_where_the_tokenizer_takes_it() {
    for kind in kinds() {
        let q = question("Is it?", &["yes", "no"]);
        let ending_in = |end: &str| {
            let template = format!("{{{{ messages[0]['content'] }}}} =>{end}");
            asked(model(&kind, Some(&template)), Format::Text, &q)
        };
        // A template's last line break goes when it is read; what is in an expression stays.
        assert_eq!(ending_in("{{ '\n' }}"), ("=|>|\n".into(), vec!["yes".into(), "n|o".into()]), "{kind}");
        let (prompt, choices) = ending_in("{{ ' ' }}");
        assert_eq!(prompt, format!("{MARK}|=|>"), "{kind}");
        assert_eq!(choices, [format!("{MARK}yes"), format!("{MARK}|n|o")], "{kind}");
    }
}

#[test]
fn choices_that_grow_together_with_the_question_are_compared_from_one_place_on() {
    const TEMPLATE: &str = "[INST] {{ messages[0]['content'] }} [/INST]";
    let q = question("Is it?", &["(a)", "yes"]);
    let (prompt, choices) = asked(model(&kinds()[1], Some(TEMPLATE)), Format::Text, &q);
    assert_eq!((prompt.as_str(), choices), ("N|S|T", vec!["](|a|)".to_owned(), "]|yes".into()]));
}

/// For a byte-level BPE a text and what follows it after a space or line have the same tokens apart and together.
#[test]
fn a_byte_level_tokenizer_asks_as_if_apart() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tokenizer");
    let q = question("What is the tax?", &["20 percent", "the income", "No"]);
    for (plain, format) in
        [(true, Format::Text), (true, Format::Letters), (false, Format::Text), (false, Format::Letters)]
    {
        let open = || TextModel::open(&folder).unwrap();
        let asked = Asker::new(open(), format, plain).ask_all(std::slice::from_ref(&q), None).unwrap().remove(0);
        let apart = |text: &str| Encoder::new(open().tokenizer).encode(text, &mut Scratch::default()).unwrap().ids;
        let before = Asker::new(open(), format, plain).text_before_the_answer(&q).unwrap();
        let space = if plain { " " } else { "" };
        let mut prompt = apart(&before);
        let mut choices: Vec<Vec<u32>> = (0..3)
            .map(|i| match format {
                Format::Letters => apart(&format!("{space}{}", letter(i))),
                _ => apart(&format!("{space}{}", q.choices[i])),
            })
            .collect();
        if format == Format::Letters {
            let same = common_prefix(&choices.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prompt.extend(&choices[0][..same]);
            choices.iter_mut().for_each(|ids| drop(ids.drain(..same)));
        }
        assert_eq!((asked.prompt, asked.choices), (prompt, choices), "{plain}, {format:?}");
    }
}

#[test]
fn an_end_token_does_not_stand_between_question_and_choice() {
    let post = json!({"post_processor": {"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": ">", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<": {"id": "<", "ids": [31], "tokens": ["<"]}, ">": {"id": ">", "ids": [33], "tokens": [">"]}}}});
    let mut pipeline = kinds()[1].clone();
    pipeline["post_processor"] = post["post_processor"].clone();
    let q = question("Is it?", &["yes", "no"]);
    let asked = Asker::new(model(&pipeline, None), Format::Text, false).ask_all(&[q], None).unwrap().remove(0);
    assert_eq!((asked.prompt[0], asked.choices[0].len(), asked.choices[1].len()), (31, 1, 3));
    assert!(!asked.prompt.contains(&33));
}

#[test]
fn a_question_is_put_as_mmlu_puts_it() {
    let mut question = question(" What is owed? ", &["Tax", "Rent"]);
    question.subject = Some("professional_accounting".into());
    let expected = "The following are multiple choice questions (with answers) about professional accounting.\n\n\
                    What is owed?\nA. Tax\nB. Rent\nAnswer:";
    assert_eq!(listed(&question), expected);
}

#[test]
fn what_the_letters_share_belongs_to_the_question() {
    assert_eq!(common_prefix(&[&[9, 1], &[9, 2], &[9, 3]]), 1);
    assert_eq!(common_prefix(&[&[1], &[2]]), 0);
    assert_eq!(common_prefix(&[]), 0);
}

#[test]
fn only_the_choice_is_labelled() {
    let asked = Asked { place: String::new(), prompt: vec![1, 2], choices: vec![vec![3], vec![4, 5]] };
    let labels: Vec<_> = asked.sequences().map(|s| s.labels).collect();
    assert_eq!(labels, [vec![-100, -100, 3], vec![-100, -100, 4, 5]]);
    assert_eq!((asked.tokens(Format::Letters), asked.tokens(Format::Text)), (2, 7));
}
