#!/usr/bin/env python3
"""Make testdata/gguf: folders of testdata/reference as llama.cpp's own converter writes them.

    .venv/bin/python scripts/make_gguf_reference.py --converter DIR [--out testdata/gguf] [--type q8_0] [NAME...]

DIR is vendor/llama.cpp of the sdist llama-cpp-python==0.3.36 (pip download --no-deps --no-binary :all:), which
holds convert_hf_to_gguf.py, conversion/ and gguf-py/. The converter runs as it is, with two things given to it:
a config in transformers 4 keys, as published models have, and a vocabulary of the reference's size, since the
reference models have no tokenizer (tokenizer.ggml.model is "gpt2": three control tokens, characters, merges).

NAME.gguf goes with testdata/reference/NAME: its data.safetensors holds the logits. FILES below says why each is
there, and only what the format can say is in it. `--show` prints names, shapes and metadata of what was written.
`--check` has transformers read the file, with the reference's own config since it takes little from the
metadata, and says how far the logits are from the reference's: 0 for f32 where it knows the architecture (not
gemma, gptneox, granite, olmo2, phi2, smollm3, nor Mixtral's and Mistral's llama). Of other types the logits of
the widened weights go into NAME.TYPE.safetensors beside the file.
What the files showed, all dimensions in the order of the weights' rows:

    arch         in the file, other than the Hugging Face names mapped one to one. Where rope.freq_base is missing
                 (gemma, gemma2, phi2, gptneox) it is 10000
    llama        attn_q and attn_k (weights and biases) permuted to interleaved halves: row 2i+j of a head is row
                 j*(head/2)+i; llama.attention.key_length and .rope.dimension_count hold head_dim; llama3 scaling
                 is the tensor rope_freqs.weight (divisors, head/2) and nothing in the metadata; linear and yarn
                 are llama.rope.scaling.type, .factor, .original_context_length, .yarn_beta_fast, .yarn_beta_slow;
                 mscale and dynamic scaling are not written; a tied model has no output.weight
    llama        Mistral and Mixtral too: the window is not written; the experts are three-dimensional tensors
                 ffn_gate_exps, ffn_up_exps, ffn_down_exps [experts, rows, columns] and ffn_gate_inp
    qwen2        not permuted; attn_q.bias, attn_k.bias, attn_v.bias; no window
    qwen3        not permuted; attn_q_norm.weight, attn_k_norm.weight
    qwen3moe     as qwen3 with the experts as above; qwen3moe.expert_feed_forward_length; norm_topk_prob is taken
                 for true
    gemma        every *_norm.weight is one greater; no output.weight, always tied; the embedding is not scaled
    gemma2       the same; post_attention_norm, ffn_norm (before the block), post_ffw_norm; both softcaps and the
                 window in the metadata; query_pre_attn_scalar is not: the head's size is taken (27B differs)
    gemma3       the same; attn_q_norm and attn_k_norm are one greater too; rope.scaling is of the full layers,
                 rope.freq_base_swa of the windowed ones (older files leave it out: 10000); every sixth layer
                 is full; query_pre_attn_scalar as above
    phi3         attn_qkv and ffn_up (gate above up) stay fused; rope_factors_long.weight, rope_factors_short.weight
                 [rotary/2] (no rope.scaling.type); phi3.rope.dimension_count is the rotated part; the attention
                 factor is in phi3.rope.scaling.attn_factor; sliding_window 0 is none
    smollm3      permuted as llama; which layers rotate is not written: every fourth does not
    granite      permuted as llama; granite.attention.scale, .embedding_scale, .residual_scale, .logit_scale (logits
                 are divided by it)
    olmo2        not permuted; attn_q_norm and attn_k_norm over all heads; post_attention_norm, post_ffw_norm, no
                 attn_norm, no ffn_norm
    starcoder2   not permuted; biases everywhere; the window is not written
    gpt2         weights [out, in] again (Conv1D transposed); attn_qkv; position_embd.weight
    gptneox      attn_qkv regrouped from heads of (q, k, v) to all q, all k, all v; rope.dimension_count,
                 use_parallel_residual
    seed_oss     not permuted; post_attention_norm is the norm before the MLP
    llama        InternLM 3 too, biases permuted; dynamic scaling is not written
    arcee        permuted as llama, no ffn_gate
    ernie4_5, glm4, cohere2   not permuted: they turn neighbours already
    olmo2        OLMo 3 too, with a window and which layers have it; yarn is of the full layers
    glm4         ffn_up is gate above up; post_attention_norm and post_ffw_norm come after, ffn_norm before the MLP
    nemotron     every norm's weight is one greater, its bias is as it is; rope.dimension_count is counted without head_dim
    cohere2      logit_scale multiplies; which layers have a window is not written: every fourth has none
    exaone4      as olmo2, llama3 scaling as llama
    stablelm     use_parallel_residual, which the loader takes from the tensors; this converter loses norms of heads
    hunyuan-dense   rope.freq_base is the stretched one; context_length always 262144
    mistral3     permuted as llama; rope.scaling.yarn_log_multiplier is mscale_all_dim, attention.temperature_scale beta
    apertus      not permuted; xielu.alpha_p, alpha_n, beta, eps are lists with a number for each layer
    phi2         q, k and v apart, not permuted; attn_norm is the only norm of a layer; output.bias;
                 rope.dimension_count; feed_forward_length is 4 x the hidden size whatever the model has
"""

import argparse
import contextlib
import functools
import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "testdata" / "reference"

# What is committed, and why it is there.
FILES = {
    "llama3_rope-s5": "permutation, rope_freqs",
    "llama_yarn_rope-s6": "yarn in the metadata",
    "llama_tied_bias-s2": "permuted biases, no output.weight, head_dim apart",
    "llama_linear_rope-s3": "linear scaling",
    "mistral_full-s10": "llama, head_dim apart",
    "qwen2_tied-s12": "biases, not permuted",
    "qwen3-s13": "norms of heads",
    "phi3_longrope-s16": "fused, long and short factors, partial rotary",
    "gemma-s17": "norms plus one",
    "gemma2-s18": "softcaps, four norms",
    "gemma3_text-s20": "two rotary bases, pattern of six",
    "smollm3-s22": "layers without rotary",
    "olmo2-s24": "norms after",
    "granite-s26": "multipliers",
    "gpt2-s28": "transposed, positions",
    "gpt_neox-s30": "regrouped qkv",
    "phi-s32": "parallel, head with bias",
    "starcoder2-s54-bias-all": "LayerNorms with biases",
    "mixtral-s36": "experts",
    "qwen3_moe-s38": "experts, norms of heads",
    "seed_oss-s70": "the MLP's norm by another name, biases",
    "internlm3-s0": "llama again, permuted biases",
    "arcee-s72": "no gate, permuted biases",
    "ernie4_5-s74": "turns neighbours, not permuted",
    "olmo3-s75": "olmo2 with a window and yarn",
    "glm4-s76": "turns neighbours in half of a head, fused gate and up",
    "nemotron-s77": "layer norms plus one",
    "cohere2-s78": "a layer norm without bias, logit scale",
    "exaone4-s79": "windows of a file, llama3 scaling",
    "stablelm-s80": "parallel",
    "hunyuan_v1_dense-s82": "a stretched base",
    "ministral3-s0": "growing queries",
    "apertus-s84": "xielu in the metadata",
}


def tiny_vocabulary(size):
    """Tokens, their kinds (3 is control, 1 normal) and merges for a model without a tokenizer."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    characters = [*letters, "\u0120", "\u010a", *"0123456789.,!?'-ABCDEFGHIJKLMNOPQRSTUVWXYZ:;()\"/"]
    tokens = ["<pad>", "<s>", "</s>", *characters]
    merges = []
    for pair in ((a, b) for a in ["\u0120", *"aeiou"] for b in letters):
        if len(tokens) >= size:
            break
        merges.append(" ".join(pair))
        tokens.append("".join(pair))
    tokens = tokens[:size] + [f"[PAD{i}]" for i in range(len(tokens), size)]
    return tokens, [3] * 3 + [1] * (size - 3), merges


def set_vocab(self):
    """Stands in for the converter's own."""
    tokens, kinds, merges = tiny_vocabulary(self.hparams["vocab_size"])
    writer = self.gguf_writer
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)


def stage(name, folder):
    """A folder for the converter: the weights, and a config as published ones are."""
    model = REFERENCE / name / "model"
    config = json.loads((model / "config_v4.json").read_text())
    if config["model_type"] == "cohere2":  # what its files on the hub say beside transformers' keys
        config["rotary_pct"] = 1.0
    if config["model_type"] == "internlm3":
        config["architectures"] = ["InternLM3ForCausalLM"]
    if config["model_type"] == "gpt2":
        config["n_ctx"] = config["n_positions"]
    if config["model_type"] == "gemma3_text":  # the converter counts the tokenizer's words here
        tokens, _, _ = tiny_vocabulary(config["vocab_size"])
        vocabulary = {"model": {"vocab": {t: i for i, t in enumerate(tokens)}}, "added_tokens": []}
        (folder / "tokenizer.json").write_text(json.dumps(vocabulary))
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(model / "model.safetensors", folder)


def convert(name, kind, out):
    import gguf
    import torch
    from conversion import get_model_architecture, get_model_class
    from conversion.base import ModelBase, ModelType

    types = {"f32": gguf.LlamaFileType.ALL_F32, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
             "f16": gguf.LlamaFileType.MOSTLY_F16, "bf16": gguf.LlamaFileType.MOSTLY_BF16}
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        folder = Path(scratch) / name
        folder.mkdir()
        stage(name, folder)
        hparams = ModelBase.load_hparams(folder, False)
        if hparams["model_type"] == "gpt_neox":  # transformers 5 drops keys that the converter asks for
            hparams |= {key: json.loads((folder / "config.json").read_text())[key] for key in ("rotary_pct",)}
        family = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
        patched = type(family.__name__, (family,), {"set_vocab": set_vocab, "model_arch": family.model_arch})
        with contextlib.redirect_stderr(open(os.devnull, "w")):
            writer = patched(folder, types[kind], out, model_name=name, hparams=hparams)
            if hasattr(writer, "impl"):  # Mistral 3 leaves its work to another class
                writer.impl.set_vocab = functools.partial(set_vocab, writer.impl)
            writer.write()
    return out


def show(path):
    import gguf
    reader = gguf.GGUFReader(path)
    for field in reader.fields.values():
        if not field.name.startswith("tokenizer.ggml.to"):
            print(f"    {field.name} = {field.contents()}"[:160])
    for tensor in reader.tensors:
        print(f"    {tensor.name} {tensor.tensor_type.name} {list(reversed(tensor.shape.tolist()))}")


def check(name, path, kind):
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig, AutoModelForCausalLM
    config = AutoConfig.from_pretrained(REFERENCE / name / "model")
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, config=config,
                                                 dtype=torch.float32, attn_implementation="eager").eval()
    data = load_file(REFERENCE / name / "data.safetensors")
    with torch.no_grad():
        logits = model(input_ids=data["input_ids"], attention_mask=data["attention_mask"]).logits
    moved = (logits - data["logits"])[data["attention_mask"].bool()].abs().max().item()
    print(f"make_gguf_reference: {path.name}: logits move by {moved:.2g} of {data['logits'].abs().max().item():.2f}",
          file=sys.stderr)
    if kind != "f32":
        save_file({"logits": logits}, path.with_suffix(".safetensors"))


def main(arguments):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", metavar="NAME")
    p.add_argument("--converter", type=Path, required=True, metavar="DIR")
    p.add_argument("--out", type=Path, default=ROOT / "testdata" / "gguf")
    p.add_argument("--type", choices=["f32", "f16", "bf16", "q8_0"], default="f32")
    p.add_argument("--show", action="store_true")
    p.add_argument("--check", action="store_true")
    given = p.parse_args(arguments)
    sys.path[:0] = [str(given.converter), str(given.converter / "gguf-py")]
    logging.disable(logging.INFO)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.names or FILES:
        ending = "" if given.type == "f32" else f".{given.type}"
        path = convert(name, given.type, given.out / f"{name}{ending}.gguf")
        print(f"make_gguf_reference: {path.name}: {path.stat().st_size / 1000:.0f} kB", file=sys.stderr)
        if given.show:
            show(path)
        if given.check:
            check(name, path, given.type)


if __name__ == "__main__":
    main(sys.argv[1:])
