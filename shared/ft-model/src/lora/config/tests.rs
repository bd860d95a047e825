#![expect(clippy::float_cmp, reason = "scales and copies are exact")]

use super::*;

fn read(text: &str) -> LoraConfig {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_scale_is_alpha_over_the_rank_or_its_root() {
    let mut config = LoraConfig::new(16, 32.0, "all-linear");
    assert_eq!(config.scaling("model.layers.0.mlp.up_proj").unwrap(), 2.0);
    config.use_rslora = true;
    assert_eq!(config.scaling("model.layers.0.mlp.up_proj").unwrap(), 8.0);
}

#[test]
fn patterns_change_single_modules_and_the_first_counts() {
    let config = read(
        r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 16,
            "rank_pattern": {"layers.1.self_attn.q_proj": 4, "q_proj": 2},
            "alpha_pattern": {"model.layers.\\d+.mlp.(up|gate)_proj": 3.5}}"#,
    );
    config.check().unwrap();
    assert_eq!(config.rank("model.layers.1.self_attn.q_proj").unwrap(), 4);
    assert_eq!(config.rank("model.layers.11.self_attn.q_proj").unwrap(), 2);
    assert_eq!(config.rank("model.layers.1.self_attn.k_proj").unwrap(), 8);
    assert_eq!(config.scaling("model.layers.0.self_attn.q_proj").unwrap(), 8.0);
    assert_eq!(config.scaling("model.layers.7.mlp.gate_proj").unwrap(), 3.5 / 8.0);
    assert_eq!(config.scaling("model.layers.7.mlp.down_proj").unwrap(), 2.0);
    let back = read(&config.to_json().unwrap());
    assert_eq!(back, config);
    assert_eq!(back.rank("model.layers.1.self_attn.q_proj").unwrap(), 4, "the patterns keep their order");
}

#[test]
fn what_changes_the_mathematics_is_refused_by_name() {
    let cases = [
        (r#""use_dora": 1"#, "use_dora"),
        (r#""modules_to_save": "lm_head""#, "modules_to_save"),
        (r#""bias": "some""#, "bias"),
        (r#""lora_bias": true"#, "lora_bias"),
        (r#""layer_replication": [[0, 4]]"#, "layer_replication"),
        (r#""target_parameters": "x""#, "target_parameters"),
        (r#""alora_invocation_tokens": [1]"#, "alora_invocation_tokens"),
        (r#""megatron_config": {"a": 1}"#, "megatron_config"),
        (r#""init_lora_weights": "pissa""#, "init_lora_weights"),
        (r#""init_lora_weights": "pissa_niter_4""#, "another one each time"),
        (r#""init_lora_weights": "OLoRA""#, "first state leaves of the base's weights"),
        (r#""init_lora_weights": "corda""#, "peft does not read it without"),
        (r#""init_lora_weights": "loftq""#, "quantised base"),
        (r#""r": 0"#, "'r'"),
        (r#""lora_dropout": 1.5"#, "lora_dropout"),
        (r#""rank_pattern": {"q_proj": "x"}"#, "rank_pattern"),
        (r#""alpha_pattern": {"q_(proj": 1}"#, "q_(proj"),
    ];
    for (line, named) in cases {
        let message = read(&format!(r#"{{"peft_type": "LORA", {line}}}"#)).check().unwrap_err().to_string();
        assert!(message.contains(named), "{line}: {message}");
    }
    let message = read(r#"{"peft_type": "IA3"}"#).check().unwrap_err().to_string();
    assert_eq!(message, "the adapter's 'peft_type' is IA3, which is not implemented; expected LORA");
}

#[test]
fn unknown_keys_are_kept_and_nulls_are_defaults() {
    let config = read(
        r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "some_new_key": {"x": 1}, "use_dora": false,
            "rank_pattern": null, "lora_dropout": null, "megatron_core": "megatron.core"}"#,
    );
    config.check().unwrap();
    let text = config.to_json().unwrap();
    assert!(text.contains(r#""some_new_key": {"#), "{text}");
    assert!(text.contains("\"lora_alpha\": 8,"), "a whole alpha is written without a point: {text}");
    let keys: Vec<&str> = text.lines().filter(|l| l.starts_with("  \"")).map(str::trim).collect();
    assert!(keys.is_sorted(), "{keys:?}");
}

#[test]
fn targets_are_read_as_they_are_typed() {
    assert_eq!("all-linear".parse(), Ok(Targets::all_linear()));
    assert_eq!("q_proj,self_attn.v_proj".parse(), Ok(Targets::Many(vec!["q_proj".into(), "self_attn.v_proj".into()])));
    assert_eq!(r".*\.[qv]_proj".parse(), Ok(Targets::One(r".*\.[qv]_proj".into())));
}
