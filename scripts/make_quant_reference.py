"""Makes testdata/quant/: matrices in 4 and 8 bits, by bitsandbytes, and checkpoints, by transformers with it.

    python scripts/make_quant_reference.py [--check]

`blocks.safetensors` holds random tensors of several lengths, what `bitsandbytes.functional.quantize_4bit` makes of them
(nf4 and fp4, with plain and with nested scales) and what `dequantize_4bit` makes of that. `nf4/`, `fp4/` and `int8/` are
Llama folders that transformers quantised and saved, each with `expected.safetensors`: some of their matrices as
bitsandbytes expands them. With `--check` the blocks are made anew and compared.

Two things about bitsandbytes 0.50 on the CPU. Its 4-bit expansion counts blocks from each row's start, unlike its other
backends and unlike its own quantisation, so tensors here are flat, or have rows of whole blocks. And it rounds nested
scales through a table of 65536 even steps, which is coarser than the map itself; its other backends and the paper take
the nearest value, which the CPU backend does for f64: `absmax` here is made so, and `absmax_cpu` as the CPU does it.
"""

import argparse
import json
import pathlib
import shutil
import tempfile

import bitsandbytes.functional as bnb
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "testdata" / "quant"
# A block for one number, one that is short, one that is whole, several; and enough blocks for two nested scales.
LENGTHS = (1, 63, 64, 1001, 16500)
# Of the long tensor's numbers every so many are kept.
STEP = 20


def blocks():
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "nf4": bnb.get_4bit_type("nf4", "cpu"),
        "fp4": bnb.get_4bit_type("fp4", "cpu"),
        "dynamic": bnb.create_dynamic_map(),
    }
    for length in LENGTHS:
        step = STEP if length > 10_000 else 1
        values = torch.randn(length, generator=generator) * 0.05
        # Blocks of different sizes, and a zero among the others.
        values *= 1.0 + torch.arange(length).div(300, rounding_mode="floor") % 11
        values[1:2] = 0.0
        tensors[f"{length}.values"] = values.half()
        values = values.half().float()
        for kind in ("nf4", "fp4")[: 1 if step > 1 else 2]:
            packed, state = bnb.quantize_4bit(values, quant_type=kind)
            name = f"{length}.{kind}"
            tensors[f"{name}.packed"] = packed.flatten()
            tensors[f"{name}.expanded"] = bnb.dequantize_4bit(packed, state).flatten()[::step]
            tensors[f"{length}.absmax"] = state.absmax
        plain = tensors[f"{length}.absmax"]
        packed, state = bnb.quantize_4bit(values, quant_type="nf4", compress_statistics=True)
        offset = plain.mean()
        assert state.offset == offset and torch.equal(packed.flatten(), tensors[f"{length}.nf4.packed"])
        codes, _ = torch.ops.bitsandbytes.quantize_blockwise((plain - offset).double(), bnb.create_dynamic_map(), 256)
        tensors[f"{length}.nested.absmax_cpu"] = state.absmax.clone()
        tensors[f"{length}.nested.absmax"] = codes
        tensors[f"{length}.nested.scales"] = state.state2.absmax
        tensors[f"{length}.nested.offset"] = offset.reshape(1)
        state.absmax = codes
        tensors[f"{length}.nested.expanded"] = bnb.dequantize_4bit(packed, state).flatten()[::step]
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}


CONFIGS = {
    "nf4": (torch.float32, dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)),
    "fp4": (torch.bfloat16, dict(load_in_4bit=True, bnb_4bit_quant_type="fp4")),
    "int8": (torch.float16, dict(load_in_8bit=True)),
}


def checkpoint(folder, dtype, settings):
    """A small Llama, quantised and saved by transformers, and some of its matrices as bitsandbytes expands them."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=16, hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        initializer_range=0.2,
    )
    with tempfile.TemporaryDirectory() as full:
        LlamaForCausalLM(config).to(dtype).save_pretrained(full)
        quantised = AutoModelForCausalLM.from_pretrained(
            full, quantization_config=BitsAndBytesConfig(**settings), dtype=dtype, device_map="cpu"
        )
    shutil.rmtree(folder, ignore_errors=True)
    quantised.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    layer = quantised.model.layers[0]
    expected = {}
    # Of the second, rows begin amid blocks; the last ones are kept.
    for name, rows in (("self_attn.k_proj", 32), ("mlp.down_proj", 9)):
        weight = layer.get_submodule(name).weight
        if settings.get("load_in_8bit"):
            values = torch.ops.bitsandbytes.int8_vectorwise_dequant(weight.data, weight.SCB)
        else:
            # In f32, whatever the type that the computation would have, and flat.
            state = weight.quant_state
            shape, state.shape, state.dtype = state.shape, torch.Size([state.shape.numel()]), torch.float32
            values = bnb.dequantize_4bit(weight.data, state).view(shape)
        expected[f"model.layers.0.{name}.weight"] = values[-rows:].float().contiguous()
    save_file(expected, folder / "expected.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="make the blocks anew and compare")
    arguments = parser.parse_args()
    made = blocks()
    if arguments.check:
        old = load_file(FOLDER / "blocks.safetensors")
        assert old.keys() == made.keys() and all(torch.equal(old[name], made[name]) for name in old), "they differ"
        print(json.dumps({"tensors": len(old), "equal": True}))
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    save_file(made, FOLDER / "blocks.safetensors")
    for name, (dtype, settings) in CONFIGS.items():
        checkpoint(FOLDER / name, dtype, settings)


if __name__ == "__main__":
    main()
