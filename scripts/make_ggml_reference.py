#!/usr/bin/env python3
"""Make testdata/quant/ggml.safetensors: numbers, and the blocks that llama.cpp's own quantisers make of them.

    python scripts/make_ggml_reference.py LIBGGML_BASE [--check]

LIBGGML_BASE is libggml-base.so, as `pip install llama-cpp-python==0.3.36` builds it (llama_cpp/lib/); it is called
through ctypes, `ggml_quantize_chunk` without an importance matrix. The build must not contract products and sums into
one operation (no -march with FMA for libggml-base, which is how it builds itself), or last bits differ.
"""

import ctypes
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

FILE = Path(__file__).resolve().parent.parent / "testdata" / "quant" / "ggml.safetensors"
# Numbers of ggml_type, bytes and elements of a block.
TYPES = {"Q4_0": (2, 18, 32), "Q4_1": (3, 20, 32), "Q5_0": (6, 22, 32), "Q5_1": (7, 24, 32), "Q8_0": (8, 34, 32),
         "Q4_K": (12, 144, 256), "Q5_K": (13, 176, 256), "Q6_K": (14, 210, 256)}


def numbers():
    """Blocks of 256 such as models have, and such as break quantisers."""
    draw = np.random.default_rng(0)
    blocks = [draw.normal(size=256) * size for size in (0.02, 0.02, 1.0, 30.0, 1e-6)]
    outlier = draw.normal(size=256) * 0.02
    outlier[100] = 4.0
    part = draw.normal(size=256) * 0.05
    part[64:96] = 0.0
    part[128:160] = 0.25
    blocks += [outlier, part, np.zeros(256), np.full(256, -0.75), np.abs(draw.normal(size=256)), -np.abs(draw.normal(size=256)),
               draw.normal(size=256) * 1e-17, draw.uniform(-1, 1, size=256), draw.standard_cauchy(size=256) * 0.01,
               np.round(draw.normal(size=256) * 8) / 8, np.linspace(-1, 1, 256)]
    return np.concatenate(blocks).astype(np.float32)


def main(library, *options):
    ggml = ctypes.CDLL(library)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
                                         ctypes.c_int64, ctypes.c_void_p]
    values = numbers()
    tensors = {"values": values}
    for name, (kind, size, block) in TYPES.items():
        out = np.zeros(len(values) // block * size, dtype=np.uint8)
        written = ggml.ggml_quantize_chunk(kind, values.ctypes.data, out.ctypes.data, 0, len(values) // 256, 256, None)
        assert written == len(out), (name, written, len(out))
        tensors[name] = out
    if "--check" in options:
        kept = load_file(FILE)
        assert kept.keys() == tensors.keys() and all((kept[k] == tensors[k]).all() for k in kept), "they differ"
    else:
        save_file(tensors, FILE)
    print(f"make_ggml_reference: {len(values)} numbers in {len(TYPES)} types", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
