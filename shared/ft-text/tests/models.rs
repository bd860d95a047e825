//! Tokenizers and templates of whole models: the small one of `testdata`, GGUF files
//! made here, and SmolLM2's.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use ft_text::{
    Encoder, Error, LabelMode, Message, Scratch, TextModel, Variables, fingerprint, label_tokens, render_labelled,
};
use serde_json::Value as Json;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn testdata(name: &str) -> PathBuf {
    workspace().join("testdata/tokenizer").join(name)
}

fn json(path: &Path) -> Json {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn smollm2() -> PathBuf {
    let folder = std::env::var_os("FT_TEST_MODEL_DIR").map_or_else(|| workspace().join(".cache/models"), PathBuf::from);
    let file = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(file.is_file(), "{} is missing: 'make test' fetches it", file.display());
    file
}

fn encode(model: &TextModel, text: &str) -> Vec<u32> {
    Encoder::new(model.tokenizer.clone()).encode(text, &mut Scratch::default()).unwrap().ids
}

/// A copy of the small model's folder, to be spoiled.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
        fs::copy(testdata(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn texts(list: Vec<String>) -> Value {
    Value::Array(list.into_iter().map(Value::String).collect())
}

fn gguf(path: &Path, metadata: &[(&str, Value)]) {
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(k, v)| (*k, v)).collect();
    gguf_file::write(&mut fs::File::create(path).unwrap(), &metadata, &[]).unwrap();
}

/// The small model as converters write it into a GGUF file, filled up with two ids.
fn small_gguf(path: &Path, pre: &str) {
    let model = json(&testdata("tokenizer.json"));
    let mut pieces: Vec<(u64, String)> = model["model"]["vocab"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(piece, id)| (id.as_u64().unwrap(), piece.clone()))
        .collect();
    pieces.sort();
    let mut tokens: Vec<String> = pieces.into_iter().map(|(_, piece)| piece).collect();
    let kinds = (0..tokens.len()).map(|id| Value::I32(if id < 3 { 3 } else { 1 }));
    let kinds: Vec<Value> = kinds.chain([Value::I32(5), Value::I32(5)]).collect();
    for _ in 0..2 {
        tokens.push(format!("[PAD{}]", tokens.len()));
    }
    let merges = model["model"]["merges"].as_array().unwrap();
    let merges = merges.iter().map(|m| format!("{} {}", m[0].as_str().unwrap(), m[1].as_str().unwrap()));
    let template = json(&testdata("tokenizer_config.json"))["chat_template"].as_str().unwrap().to_owned();
    gguf(
        path,
        &[
            ("tokenizer.ggml.model", Value::String("gpt2".into())),
            ("tokenizer.ggml.pre", Value::String(pre.into())),
            ("tokenizer.ggml.tokens", texts(tokens)),
            ("tokenizer.ggml.token_type", Value::Array(kinds)),
            ("tokenizer.ggml.merges", texts(merges.collect())),
            ("tokenizer.ggml.bos_token_id", Value::U32(1)),
            ("tokenizer.ggml.eos_token_id", Value::U32(2)),
            ("tokenizer.ggml.eot_token_id", Value::U32(0)),
            ("tokenizer.chat_template", Value::String(template)),
        ],
    );
}

#[test]
fn a_folder_and_the_gguf_made_of_it_are_the_same_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small.gguf");
    small_gguf(&file, "smollm");
    let (ours, theirs) = (TextModel::open(&file).unwrap(), TextModel::open(&testdata("")).unwrap());
    let cases = json(&testdata("expected_tiny.json"));
    for case in cases.as_array().unwrap() {
        let text = case[0].as_str().unwrap();
        assert_eq!(encode(&ours, text), encode(&theirs, text), "{text:?}");
        assert_eq!(ours.tokenizer.decode(&encode(&ours, text), false).unwrap(), text);
    }
    assert_eq!(ours.bos, theirs.bos);
    assert_eq!((ours.eos, ours.end_ids), (theirs.eos.clone(), vec![2, 0]));
    assert_eq!(theirs.end_ids, [2, 0]);
    assert_eq!(fingerprint(&file).unwrap(), fingerprint(&testdata("")).unwrap());
}

#[test]
fn smollm2_gives_the_ids_of_pythons_tokenizers() {
    let model = TextModel::open(&smollm2()).unwrap();
    for case in json(&testdata("expected_smollm2.json")).as_array().unwrap() {
        let text = case[0].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(case[1].clone()).unwrap();
        assert_eq!(encode(&model, text), ids, "{text:?}");
        assert_eq!(model.tokenizer.decode(&ids, false).unwrap(), text);
    }
    assert_eq!(encode(&model, "The capital of France is Paris."), [504, 3575, 282, 4649, 314, 7042, 30]);
    assert_eq!(model.end_ids, [2]);
}

#[test]
fn smollm2_renders_as_jinja2_does() {
    let model = TextModel::open(&smollm2()).unwrap();
    let template = model.template.as_ref().unwrap();
    for case in json(&testdata("expected_smollm2_chats.json")).as_array().unwrap() {
        let turns: Vec<(String, String)> = serde_json::from_value(case[0].clone()).unwrap();
        let messages: Vec<Message> = turns.into_iter().map(|(r, c)| Message::new(r, c)).collect();
        let rendered = template.render(&messages, case[1].as_bool().unwrap()).unwrap();
        assert_eq!(rendered.text, case[2].as_str().unwrap());
        let ids: Vec<u32> = serde_json::from_value(case[3].clone()).unwrap();
        assert_eq!(encode(&model, &rendered.text), ids);
    }
}

#[test]
fn smollm2_learns_the_answer_and_its_end() {
    let model = TextModel::open(&smollm2()).unwrap();
    let messages = [
        Message::new("user", "What is the capital of France?"),
        Message::new("assistant", "The capital of France is Paris."),
    ];
    let text =
        render_labelled(model.template.as_ref().unwrap(), &messages, &Variables::default(), LabelMode::Completion)
            .unwrap();
    let tokens = Encoder::new(model.tokenizer).encode(&text.text, &mut Scratch::default()).unwrap();
    let labels = label_tokens(&tokens.ids, &tokens.starts, &text.spans);
    let learned: Vec<i32> = labels.into_iter().filter(|&label| label >= 0).collect();
    // The greedy answer of two independent implementations, and the line break.
    assert_eq!(learned, [504, 3575, 282, 4649, 314, 7042, 30, 2, 198]);
}

#[test]
fn what_is_saved_opens_as_the_same_model() {
    let source = smollm2();
    let model = TextModel::open(&source).unwrap();
    let folder = tempfile::tempdir().unwrap();
    model.save_tokenizer(folder.path()).unwrap();
    let again = TextModel::open(folder.path()).unwrap();
    let text = "Tax on $1,234.50 is 20 %.<|im_end|>\n\n  naïve";
    assert_eq!(encode(&again, text), encode(&model, text));
    assert_eq!((&again.bos, &again.eos, &again.pad), (&model.bos, &model.eos, &model.pad));
    assert_eq!(again.template.unwrap().sha256(), model.template.as_ref().unwrap().sha256());
    let print = fingerprint(&source).unwrap().unwrap();
    assert_eq!(fingerprint(folder.path()).unwrap(), Some(print.clone()));
    assert_eq!(model.fingerprint().unwrap(), print);
    assert_ne!(fingerprint(&testdata("")).unwrap(), Some(print));
}

#[test]
fn a_folder_is_saved_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    TextModel::open(&testdata("")).unwrap().save_tokenizer(folder.path()).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), fs::read(testdata(name)).unwrap());
    }
}

#[test]
fn sentencepiece_merges_by_score() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spm.gguf");
    // Bytes as pieces of their own are what unknown characters fall back to.
    let mut pieces: Vec<(String, f32, i32)> =
        [("<unk>", 2), ("<s>", 3), ("</s>", 3)].map(|(p, kind)| (p.to_owned(), 0.0, kind)).into();
    pieces.extend((0..=255_u8).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
    let normal = [("▁a", -1.0), ("ab", -2.0), ("▁ab", -3.0), ("▁", -4.0), ("a", -5.0), ("b", -6.0)];
    pieces.extend(normal.map(|(piece, score)| (piece.to_owned(), score, 1)));
    gguf(
        &file,
        &[
            ("tokenizer.ggml.model", Value::String("llama".into())),
            ("tokenizer.ggml.tokens", texts(pieces.iter().map(|p| p.0.clone()).collect())),
            ("tokenizer.ggml.scores", Value::Array(pieces.iter().map(|p| Value::F32(p.1)).collect())),
            ("tokenizer.ggml.token_type", Value::Array(pieces.iter().map(|p| Value::I32(p.2)).collect())),
            ("tokenizer.ggml.unknown_token_id", Value::U32(0)),
            ("tokenizer.ggml.bos_token_id", Value::U32(1)),
        ],
    );
    let model = TextModel::open(&file).unwrap();
    // ▁a goes before ab, and ▁ab is made of it; é is two bytes.
    assert_eq!(encode(&model, "ab bab"), [261, 262, 264, 260]);
    assert_eq!(encode(&model, "é"), [262, 3 + 0xC3, 3 + 0xA9]);
    assert_eq!(model.tokenizer.decode(&encode(&model, "ab é"), true).unwrap(), "ab é");
    // Whoever asks the tokenizer for its special tokens gets the one that such models have.
    assert_eq!(model.tokenizer.encode("a", true).unwrap().get_ids(), [1, 259]);
}

#[test]
fn truncation_and_padding_of_a_saved_tokenizer_do_not_count() {
    let folder = copy();
    let file = folder.path().join("tokenizer.json");
    let mut saved = json(&file);
    saved["truncation"] =
        serde_json::json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    fs::write(&file, saved.to_string()).unwrap();
    assert!(encode(&TextModel::open(folder.path()).unwrap(), "one two three four").len() > 4);
}

#[test]
fn where_the_template_comes_from() {
    let folder = copy();
    let source = || TextModel::open(folder.path()).unwrap().template.map(|t| t.source().to_owned());
    let config = folder.path().join("tokenizer_config.json");
    fs::write(
        &config,
        r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#,
    )
    .unwrap();
    assert_eq!(source().as_deref(), Some("d"));
    let template = TextModel::open(folder.path()).unwrap().template.unwrap();
    let with = |json: Json| {
        let variables = Variables::new(json.as_object().unwrap());
        template.render_with(&[Message::new("user", "x")], &variables, false).unwrap().text
    };
    assert_eq!(
        (with(serde_json::json!({"tools": []})), with(serde_json::json!({"tools": null}))),
        ("t".into(), "d".into())
    );
    let saved = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chat_template.jinja"), "j").unwrap();
    fs::create_dir(folder.path().join("additional_chat_templates")).unwrap();
    fs::write(folder.path().join("additional_chat_templates/tool_use.jinja"), "u").unwrap();
    let model = TextModel::open(folder.path()).unwrap();
    model.save_tokenizer(saved.path()).unwrap();
    let again = TextModel::open(saved.path()).unwrap().template.unwrap();
    assert_eq!(again.sha256(), model.template.unwrap().sha256());
    assert_ne!(again.sha256(), template.sha256());
    fs::write(folder.path().join("chat_template.jinja"), "j").unwrap();
    assert_eq!(source().as_deref(), Some("j"));
    fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    fs::write(&config, r#"{"eos_token": {"content": "<|im_end|>", "lstrip": false}}"#).unwrap();
    assert_eq!(source(), None);
    assert_eq!(TextModel::open(folder.path()).unwrap().eos.unwrap().id, 2);
    fs::write(&config, r#"{"chat_template": [{"name": "rag", "template": "t"}]}"#).unwrap();
    let error = TextModel::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains(r#"names no "default" but rag"#), "{error}");
}

#[test]
fn files_that_are_not_what_their_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(matches!(TextModel::open(path), Err(Error::NoTokenizer { .. })));
    assert_eq!(fingerprint(path).unwrap(), None);
    fs::write(path.join("tokenizer.json"), "{\"model\": ").unwrap();
    for error in [TextModel::open(path).unwrap_err(), fingerprint(path).unwrap_err()] {
        assert!(error.to_string().contains("tokenizer.json: not a tokenizer.json"), "{error}");
    }
    let file = path.join("model.gguf");
    assert!(matches!(TextModel::open(&file), Err(Error::Io { .. })));
    small_gguf(&file, "smollm");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let error = TextModel::open(&file).unwrap_err().to_string();
    assert!(error.contains("model.gguf: ") && error.contains("not a whole GGUF file"), "{error}");
    small_gguf(&file, "gibberish");
    let error = TextModel::open(&file).unwrap_err().to_string();
    assert!(error.contains(r#"tokenizer.ggml.pre is "gibberish"; known: gpt-2, mpt"#), "{error}");
    gguf(
        &file,
        &[("tokenizer.ggml.model", Value::String("t5".into())), ("tokenizer.ggml.tokens", texts(vec!["a".into()]))],
    );
    let error = TextModel::open(&file).unwrap_err().to_string();
    assert!(error.contains(r#"tokenizer.ggml.model is "t5"; known: gpt2"#), "{error}");
    gguf(&file, &[("general.architecture", Value::String("llama".into()))]);
    assert!(matches!(TextModel::open(&file), Err(Error::NoTokenizer { .. })));
    assert_eq!(fingerprint(&file).unwrap(), None);
}
