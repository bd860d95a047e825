"""The config of each architecture, and the same config as transformers 4 wrote it.

An architecture is a model_type, the keys that it takes its sizes under, and the keys that make it that variant.
"""

import json

from transformers import AutoConfig

STD = 0.2
EPS = 1e-3  # larger than any model's, so that one that is read under the wrong name shows


def rope(kind, theta=1e4, **keys):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **keys}}


LLAMA3 = rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)

# name: (model_type, what differs from the defaults of its config class)
ARCHS = {
    "llama": ("llama", {}),
    "llama_tied_bias": ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama_linear_rope": ("llama", rope("linear", factor=4.0)),
    "llama_dynamic_rope": ("llama", rope("dynamic", factor=3.0)),
    "llama_yarn_rope": ("llama", rope("yarn", factor=4.0, original_max_position_embeddings=32)),
    "llama3_rope": ("llama", LLAMA3),
    "mistral": ("mistral", {"sliding_window": 8}),
    "mistral_full": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "phi3": ("phi3", {}),
    "gemma": ("gemma", {"tie_word_embeddings": True}),
    "gemma2": ("gemma2", {"tie_word_embeddings": True, "sliding_window": 8, "query_pre_attn_scalar": 20,
                          "attn_logit_softcapping": 5.0, "final_logit_softcapping": 10.0}),
    "gemma3_text": ("gemma3_text", {"tie_word_embeddings": True, "sliding_window": 8, "query_pre_attn_scalar": 20,
                                    "rope_parameters": {
                                        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                                        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}),
    "smollm3": ("smollm3", {"tie_word_embeddings": True}),
    "olmo2": ("olmo2", {}),
    "granite": ("granite", {"embedding_multiplier": 12.0, "attention_multiplier": 0.1,
                            "residual_multiplier": 0.22, "logits_scaling": 8.0}),
    "gpt2": ("gpt2", {"tie_word_embeddings": True}),
    "gpt_neox": ("gpt_neox", rope("default", partial_rotary_factor=0.25)),
    "phi": ("phi", rope("default", partial_rotary_factor=0.5)),
    "starcoder2": ("starcoder2", {}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": ("qwen3_moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}),
    "seed_oss": ("seed_oss", {}),
    "internlm3": ("internlm3", rope("dynamic", factor=6.0)),
    "arcee": ("arcee", {}),
    "helium": ("helium", {}),
    "ernie4_5": ("ernie4_5", {}),
    "olmo3": ("olmo3", {"sliding_window": 8, "rope_parameters": {
        "full_attention": {"rope_type": "yarn", "rope_theta": 5e5, "factor": 4.0,
                           "original_max_position_embeddings": 32},
        "sliding_attention": {"rope_type": "default", "rope_theta": 5e5}}}),
    "glm4": ("glm4", rope("default", partial_rotary_factor=0.5)),
    "nemotron": ("nemotron", rope("default", partial_rotary_factor=0.5)),
    "cohere2": ("cohere2", {"sliding_window": 8, "logit_scale": 0.25}),
    "exaone4": ("exaone4", {"sliding_window": 8, **LLAMA3}),
    "stablelm": ("stablelm", rope("default", partial_rotary_factor=0.25)),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", rope("dynamic", alpha=1000.0, factor=1.0)),
    "ministral3": ("ministral3", rope(
        "yarn", 1e6, factor=16.0, mscale=1.0, mscale_all_dim=1.0, original_max_position_embeddings=8,
        llama_4_scaling_beta=0.5)),
    "apertus": ("apertus", LLAMA3),
}

# The key that holds epsilon, where it is not rms_norm_eps.
EPSILON = {"gpt2": "layer_norm_epsilon", "gpt_neox": "layer_norm_eps", "phi": "layer_norm_eps",
           "starcoder2": "norm_epsilon", "nemotron": "norm_eps", "cohere2": "layer_norm_eps", "stablelm": "layer_norm_eps"}
# Families whose config has a head_dim of its own; the others divide the hidden size.
OWN_HEAD_DIM = {"llama", "mistral", "qwen3", "gemma", "gemma2", "gemma3_text", "mixtral", "qwen3_moe", "seed_oss",
                "internlm3", "arcee", "helium", "ernie4_5", "glm4", "nemotron", "hunyuan_v1_dense", "ministral3"}
# Families whose first files were like those of today.
LATE = {"seed_oss", "internlm3", "arcee", "helium", "ernie4_5", "olmo3", "glm4", "cohere2", "exaone4",
        "hunyuan_v1_dense", "ministral3", "apertus"}
NO_GROUPS = {"gpt2", "gpt_neox"}
# These ask a dropout of their users by default; reference values are made without.
DROPOUTS = ("attn_pdrop", "embd_pdrop", "resid_pdrop", "attention_dropout", "hidden_dropout",
            "embedding_dropout", "residual_dropout")


def sizes(model_type, given):
    """The sizes that were asked for, under the names of the family."""
    if model_type == "gpt2":
        return {"n_embd": given.hidden, "n_inner": given.intermediate, "n_layer": given.layers,
                "n_head": given.heads, "n_positions": 128}
    keys = {"hidden_size": given.hidden, "intermediate_size": given.intermediate,
            "num_hidden_layers": given.layers, "num_attention_heads": given.heads, "max_position_embeddings": 128}
    if model_type not in NO_GROUPS:
        keys["num_key_value_heads"] = given.kv_heads
    if model_type in OWN_HEAD_DIM:
        keys["head_dim"] = given.head_dim
    elif given.head_dim not in (None, given.hidden // given.heads):
        raise SystemExit(f"make_reference: error: --head-dim: {model_type} divides the hidden size by the heads")
    return keys


def make_config(given):
    model_type, keys = ARCHS[given.arch]
    if given.head_dim is None and model_type in OWN_HEAD_DIM:
        given.head_dim = given.hidden // given.heads
    keys = {
        **sizes(model_type, given), "vocab_size": given.vocab, "initializer_range": STD, "use_cache": False,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
        EPSILON.get(model_type, "rms_norm_eps"): EPS, **keys}
    keys |= {k: json.loads(v) for k, v in (pair.split("=", 1) for pair in given.set)}
    config = AutoConfig.for_model(model_type, attn_implementation="eager", **keys)
    for name in DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, 0.0)
    return config


def v4_config(v5):
    """The same config in the keys of transformers 4.55.

    rope_parameters becomes rope_theta and rope_scaling (null for the default kind), dtype becomes torch_dtype.
    Gemma-3 has one pair for the full layers and rope_local_base_freq for the sliding ones. GPT-NeoX names its
    rotary keys itself, Phi keeps partial_rotary_factor beside them, Phi-3 says "type", not "rope_type", allows
    no other key beside the two factor lists and keeps original_max_position_embeddings outside. Qwen3-MoE
    counts num_experts.
    """
    v4 = dict(v5)
    rope = v4.pop("rope_parameters", None)
    v4["torch_dtype"] = v4.pop("dtype")
    v4["transformers_version"] = "4.55.0"
    if v4["model_type"] == "qwen3_moe":
        v4["num_experts"] = v4.pop("num_local_experts", None) or v4["num_experts"]
    if not rope:
        return v4
    if v4["model_type"] == "gemma3_text":
        v4["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    if v4["model_type"] == "olmo3":
        rope = rope["full_attention"]
    rope = dict(rope)
    theta, partial = rope.pop("rope_theta"), rope.pop("partial_rotary_factor", None)
    if v4["model_type"] == "gpt_neox":
        v4["rotary_emb_base"], v4["rotary_pct"] = theta, partial
    elif partial is not None:
        v4["partial_rotary_factor"] = partial
    if v4["model_type"] != "gpt_neox":
        v4["rope_theta"] = theta
    if v4["model_type"] == "phi3" and rope["rope_type"] == "longrope":
        v4["original_max_position_embeddings"] = rope["original_max_position_embeddings"]
        rope = {"type": "longrope", "short_factor": rope["short_factor"], "long_factor": rope["long_factor"]}
    v4["rope_scaling"] = None if rope.get("rope_type") == "default" else rope
    return v4


def early_config(v4):
    """As the first releases of a family wrote it: no layer_types, but the rule that they follow, and "type" for
    "rope_type" (not in Gemma-3, which came later, and not in those that came with transformers 4.43 or after)."""
    if v4["model_type"] in LATE:
        return v4
    early = {k: v for k, v in v4.items() if k not in ("layer_types", "_sliding_window_pattern")}
    early["transformers_version"] = "4.40.0"
    if early["model_type"] == "gemma":  # "gelu" stood there and meant the tanh form
        early["hidden_act"] = "gelu"
    if early["model_type"] == "gemma3_text":
        full = [i + 1 for i, kind in enumerate(v4["layer_types"]) if kind == "full_attention"]
        early["sliding_window_pattern"] = full[0] if full else len(v4["layer_types"]) + 1
    elif early.get("rope_scaling") and "rope_type" in early["rope_scaling"]:
        scaling = dict(early["rope_scaling"])
        early["rope_scaling"] = {"type": scaling.pop("rope_type"), **scaling}
    return early
