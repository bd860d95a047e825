//! Folders for `ollama create`.

use std::ffi::OsStr;
use std::fs;

use crate::common::{failure, run, smollm2, succeed};

#[test]
fn smollm2_comes_with_its_template_in_ollamas_words() {
    let home = tempfile::tempdir().unwrap();
    let (base, out) = (smollm2(), home.path().join("out"));
    let to: [&dyn AsRef<OsStr>; 8] = [&"--model", &base, &"--to", &"ollama", &"--quantize", &"q8_0", &"-o", &out];
    succeed(&to);
    let text = fs::read_to_string(out.join("Modelfile")).unwrap();
    let expected = "FROM ./model.gguf\n\
        TEMPLATE \"\"\"{{ if .System }}{{ \"<|im_start|>system\\n\" }}{{ .System }}{{ else }}{{ \"<|im_start|>system\\n\
        You are a helpful AI assistant named SmolLM, trained by Hugging Face\" }}{{ end }}{{ range .Messages }}\
        {{ if eq .Role \"user\" }}{{ \"<|im_end|>\\n<|im_start|>user\\n\" }}{{ .Content }}\
        {{ \"<|im_end|>\\n<|im_start|>assistant\\n\" }}{{ else if eq .Role \"assistant\" }}{{ .Content }}{{ end }}{{ end }}\"\"\"\n\
        PARAMETER stop \"<|im_end|>\"\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.ends_with("PARAMETER num_ctx 2048\n") || text.ends_with("PARAMETER num_ctx 8192\n"), "{text}");
    assert!(fs::read(out.join("model.gguf")).unwrap().starts_with(b"GGUF"));
    // Nothing but its own is replaced.
    let (line, code) = failure(&run(&to));
    assert!(code == 1 && line.contains("is not empty"), "{line}");
    fs::write(out.join("notes.txt"), "mine").unwrap();
    succeed(&[&to[..], &[&"--overwrite"]].concat());
    assert_eq!(fs::read_to_string(out.join("notes.txt")).unwrap(), "mine");
    fs::write(out.join("model.gguf"), "another's").unwrap();
    let (line, _) = failure(&run(&[&to[..], &[&"--overwrite"]].concat()));
    assert!(line.contains("was not written by this program"), "{line}");
}

#[test]
fn other_templates_are_taken_apart_or_told() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("folder");
    succeed(&[&"--model", &smollm2(), &"--dtype", &"bf16", &"-o", &folder]);
    let modelfile = |template: &str| {
        fs::write(folder.join("chat_template.jinja"), template).unwrap();
        let settings = r#"{"eos_token_id": [2, 0], "do_sample": true, "temperature": 0.6, "repetition_penalty": 1.1}"#;
        fs::write(folder.join("generation_config.json"), settings).unwrap();
        let out = home.path().join("out");
        let told =
            succeed(&[&"--model", &folder, &"--to", &"ollama", &"--quantize", &"q4_0", &"-o", &out, &"--overwrite"]);
        (fs::read_to_string(out.join("Modelfile")).unwrap(), told)
    };
    // As Gemma's: no turn of the system, whose text goes before the first message.
    let gemma = "{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}\
        {% else %}{% set first = '' %}{% set rest = messages %}{% endif %}{% for m in rest %}<turn>\
        {{ 'model' if m.role == 'assistant' else m.role }}\n{{ first if loop.first else '' }}{{ m.content }}</turn>\n{% endfor %}\
        {% if add_generation_prompt %}<turn>model\n{% endif %}";
    let (text, _) = modelfile(gemma);
    assert!(
        text.contains(
            "{{ if .System }}{{ \"<turn>user\\n\" }}{{ .System }}{{ \"\\n\" }}{{ else }}{{ \"<turn>user\" }}{{ end }}"
        ),
        "{text}"
    );
    assert!(text.contains("{{ .Content }}{{ \"</turn>\\n<turn>model\\n\" }}"), "{text}");
    assert!(text.contains("PARAMETER stop \"<|im_end|>\"\nPARAMETER stop \"<|endoftext|>\"\n"), "{text}");
    assert!(text.contains("PARAMETER temperature 0.6\nPARAMETER repeat_penalty 1.1\n"), "{text}");
    // The system's text before the last message, as Mistral's: nothing that can be written in turns.
    let last = "{% for m in messages %}{% if m.role == 'user' %}[INST]{% if loop.last and messages[0].role == 'system' %}\
        {{ messages[0].content }} {% endif %}{{ m.content }}[/INST]{% elif m.role == 'assistant' %}{{ m.content }}{% endif %}{% endfor %}";
    let (text, told) = modelfile(last);
    assert!(text.contains("# No TEMPLATE: the chat template") && told.contains("Ollama guesses one"), "{text} {told}");
    assert!(!text.contains("\nTEMPLATE"), "{text}");
}
