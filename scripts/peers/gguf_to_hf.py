#!/usr/bin/env python3
"""Make an f32 Hugging Face folder from a llama-architecture GGUF file with a BPE tokenizer.

    .venv/bin/python scripts/peers/gguf_to_hf.py [MODEL.gguf] [FOLDER]

An implementation of its own, by the gguf package, against which ft-merge's conversion
is held. llama GGUF files store attn_q and attn_k permuted for interleaved rotary
embedding: each head's rows (2, d/2) are swapped back to (d/2, 2) here.
"""

import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader, dequantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from common import ROOT, SMOLLM2_GGUF, SMOLLM2_HF

NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
CONTROL = 3  # tokenizer.ggml.token_type of special tokens


def hf_name(name):
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    if name == "output.weight":
        return "lm_head.weight"
    _, layer, kind, _ = name.split(".")
    return f"model.layers.{layer}.{NAMES[kind]}.weight"


def unpermute(weight, heads):
    """Rows of each head from interleaved pairs back to halves."""
    rows, columns = weight.shape
    return (weight.reshape(heads, rows // heads // 2, 2, columns)
            .swapaxes(1, 2).reshape(rows, columns))


def read_weights(reader, heads, kv_heads):
    weights = {}
    for tensor in reader.tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)
        if ".attn_q." in tensor.name:
            values = unpermute(values, heads)
        elif ".attn_k." in tensor.name:
            values = unpermute(values, kv_heads)
        weights[hf_name(tensor.name)] = np.ascontiguousarray(values)
    return weights


def write_tokenizer(field, folder):
    """The BPE tokenizer of the file, with SmolLM2's pre-tokenizer (single digits, then GPT-2's pattern)."""
    if (pre := field("tokenizer.ggml.pre")) != "smollm":
        sys.exit(f"gguf_to_hf: error: pre-tokenizer '{pre}' is not known here, expected 'smollm'")
    tokens, kinds = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    merges = [tuple(m.split(" ")) for m in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, kinds) if k == CONTROL])
    special = {name: tokens[field(f"tokenizer.ggml.{key}_token_id")] for name, key in [
        ("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")]}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False,
                                   model_max_length=field("llama.context_length"), **special)
    fast.chat_template = field("tokenizer.chat_template")
    fast.save_pretrained(folder)


def config_of(field, vocab):
    heads = field("llama.attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32",
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": heads, "num_key_value_heads": field("llama.attention.head_count_kv"),
        "head_dim": field("llama.embedding_length") // heads,
        "vocab_size": vocab, "max_position_embeddings": field("llama.context_length"),
        "rms_norm_eps": float(f"{field('llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_parameters": {"rope_type": "default", "rope_theta": field("llama.rope.freq_base")},
        "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "pad_token_id": field("tokenizer.ggml.padding_token_id"),
    }


def convert(source, folder):
    reader = GGUFReader(source)
    field = lambda key: reader.fields[key].contents()
    folder.mkdir(parents=True, exist_ok=True)
    config = config_of(field, len(field("tokenizer.ggml.tokens")))
    weights = read_weights(reader, config["num_attention_heads"], config["num_key_value_heads"])
    config["tie_word_embeddings"] = "lm_head.weight" not in weights
    generation = {k: config[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_tokenizer(field, folder)
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")  # last: marks the folder whole
    print(f"gguf_to_hf: wrote {len(weights)} tensors to {folder}", file=sys.stderr)


def smollm2():
    """The f32 folder of SmolLM2, made when it is not there."""
    if not (SMOLLM2_HF / "config.json").exists():
        convert(SMOLLM2_GGUF, SMOLLM2_HF)
    return SMOLLM2_HF


if __name__ == "__main__":
    given = [Path(a) for a in sys.argv[1:]]
    convert(*given) if len(given) == 2 else print(smollm2().relative_to(ROOT))
