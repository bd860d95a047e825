#!/usr/bin/env python3
"""Make a small Llama with random weights and the test tokenizer, with nothing but Python.

    scripts/cuda/tiny_model.py OUT

For runs of the programs from end to end where no real model is at hand.
"""

import array
import json
import math
import random
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HIDDEN, INTER, LAYERS, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 128, 320, 4, 8, 2, 16, 400

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "hidden_size": HIDDEN, "intermediate_size": INTER, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
    "vocab_size": VOCABULARY, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "float32",
    "bos_token_id": 1, "eos_token_id": 2,
}


def tensors():
    """Names and shapes, in the order of the file."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        yield name + "input_layernorm.weight", (HIDDEN,)
        yield name + "self_attn.q_proj.weight", (HEADS * HEAD_DIM, HIDDEN)
        yield name + "self_attn.k_proj.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield name + "self_attn.v_proj.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield name + "self_attn.o_proj.weight", (HIDDEN, HEADS * HEAD_DIM)
        yield name + "post_attention_layernorm.weight", (HIDDEN,)
        yield name + "mlp.gate_proj.weight", (INTER, HIDDEN)
        yield name + "mlp.up_proj.weight", (INTER, HIDDEN)
        yield name + "mlp.down_proj.weight", (HIDDEN, INTER)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(CONFIG, indent=2))
    for file in (ROOT / "testdata" / "tokenizer").glob("*.json"):
        if not file.name.startswith("expected"):
            shutil.copy(file, out)
    draw = random.Random(1)
    header, data = {}, array.array("f")
    for name, shape in tensors():
        start = len(data) * 4
        if len(shape) == 1:
            data.extend([1.0] * shape[0])
        else:
            scale = 0.7 / math.sqrt(shape[1])
            data.extend(draw.gauss(0.0, scale) for _ in range(math.prod(shape)))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, len(data) * 4]}
    if sys.byteorder == "big":
        data.byteswap()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(out / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + data.tobytes())


if __name__ == "__main__":
    main()
