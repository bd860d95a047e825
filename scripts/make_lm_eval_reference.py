#!/usr/bin/env python3
"""Writes testdata/lm_eval/: small questions in the columns of six tasks, and what lm-eval finds on them.

    python3 -m venv V && V/bin/pip install torch transformers lm-eval && V/bin/python scripts/make_lm_eval_reference.py

The tasks are lm-eval's own files with other rows. The model is that of ft-eval's tests, whose weights come from a rule
(bins/ft-eval/tests/cli/bench.rs), with the tokenizer of testdata/tokenizer.
"""

import json
import random
import shutil
import tempfile
from pathlib import Path

import lm_eval
import numpy as np
import torch
import yaml
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks.hellaswag.utils import process_docs
from safetensors.torch import save_file

TESTDATA = Path(__file__).resolve().parent.parent / "testdata"
OUT = TESTDATA / "lm_eval"
SHOTS = 6
QUESTIONS = 9
WORDS = ("tax rent income the of a invoice due paid asset debt ledger audit net gross year rate sum loss profit "
         "Bank credit plus interest share café naïve 100 2024").split()


def write_model(folder):
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 400, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
        "max_position_embeddings": 1024, "bos_token_id": 1, "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    state = 7

    def matrix(rows, columns):
        nonlocal state
        values = np.empty(rows * columns, np.float32)
        for i in range(rows * columns):
            state = (state * 1664525 + 1013904223) % 2**32
            values[i] = np.float32(0.4) * (np.float32(state >> 8) / np.float32(1 << 23) - np.float32(1))
        return torch.from_numpy(values.reshape(rows, columns))

    tensors = {"model.embed_tokens.weight": matrix(400, 32), "model.norm.weight": torch.ones(32)}
    for layer in range(2):
        for name, rows, columns in [
            ("self_attn.q_proj", 32, 32), ("self_attn.k_proj", 16, 32), ("self_attn.v_proj", 16, 32),
            ("self_attn.o_proj", 32, 32), ("mlp.gate_proj", 48, 32), ("mlp.up_proj", 48, 32), ("mlp.down_proj", 32, 48),
        ]:
            tensors[f"model.layers.{layer}.{name}.weight"] = matrix(rows, columns)
        for name in ["input_layernorm", "post_attention_layernorm"]:
            tensors[f"model.layers.{layer}.{name}.weight"] = torch.ones(32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"]:
        shutil.copy(TESTDATA / "tokenizer" / name, folder / name)


def rows(task, draw, count):
    words = lambda low, high: " ".join(draw.choices(WORDS, k=draw.randint(low, high)))
    letters = "ABCDE"
    for i in range(count):
        right = draw.randrange(4)
        if task == "mmlu":
            yield {"question": f" {words(3, 12)}?\n", "choices": [words(1, 5) for _ in range(4)], "answer": right,
                   "subject": "professional_accounting"}
        elif task == "arc":
            n = 3 + i % 3
            label = list("12345"[:n]) if i % 4 == 3 else list(letters[:n])
            yield {"question": f"{words(3, 12)}?", "choices": {"text": [words(1, 6) for _ in range(n)], "label": label},
                   "answerKey": label[right % n]}
        elif task == "hellaswag":
            ending = lambda: f"{words(2, 6)} [title] {words(1, 4)} [step]  {words(1, 3)}. "
            yield {"activity_label": words(1, 3), "ctx_a": words(4, 10).capitalize() + ". [header] How",
                   "ctx_b": draw.choice(["a Man", "THE bank", "é Là", ""]), "endings": [ending() for _ in range(4)],
                   "label": str(right)}
        elif task == "piqa":
            yield {"goal": words(3, 9), "sol1": words(2, 9), "sol2": words(2, 9), "label": right % 2}
        elif task == "boolq":
            yield {"passage": words(10, 25) + ".", "question": "is " + words(3, 6), "label": right % 2}
        elif task == "commonsense_qa":
            yield {"question": f"{words(3, 12)}? ", "choices": {"label": list(letters), "text": [words(1, 4) for _ in letters]},
                   "answerKey": letters[(right + i) % 5]}


FILES = {
    "mmlu": "mmlu/default/_default_template_yaml", "arc": "arc/arc_easy.yaml", "hellaswag": "hellaswag/hellaswag.yaml",
    "piqa": "piqa/piqa.yaml", "boolq": "super_glue/boolq/default.yaml", "commonsense_qa": "commonsense_qa/default.yaml",
}


class Loader(yaml.SafeLoader):
    pass


Loader.add_constructor("!function", lambda loader, node: process_docs)


def config_of(task):
    """lm-eval's own task, over the rows that are written here."""
    file = Path(lm_eval.__file__).parent / "tasks" / FILES[task]
    config = yaml.load(file.read_text(), Loader)
    for key in ["dataset_name", "tag", "metadata", "training_split", "validation_split", "test_split", "fewshot_split"]:
        config.pop(key, None)
    if task == "mmlu":
        config["description"] = ("The following are multiple choice questions (with answers) about professional "
                                 "accounting.\n\n")
    config |= {
        "task": task, "dataset_path": "json", "test_split": "test", "fewshot_split": "shots",
        "dataset_kwargs": {"data_files": {"test": str(OUT / f"{task}.jsonl"), "shots": str(OUT / f"{task}.shots.jsonl")}},
    }
    return config


def main():
    OUT.mkdir(exist_ok=True)
    draw = random.Random(5)
    for task in FILES:
        for name, count in [(task, QUESTIONS), (f"{task}.shots", 40 if task == "piqa" else SHOTS)]:
            lines = [json.dumps(row, ensure_ascii=False) for row in rows(task, draw, count)]
            (OUT / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        model = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=1)
        for shots in [0, 3]:
            for task in FILES:
                of = ConfigurableTask(config=config_of(task))
                of.set_config("num_fewshot", shots)
                of.set_fewshot_seed(1234)
                result = lm_eval.simple_evaluate(model, tasks=[of], bootstrap_iters=100, log_samples=True, num_fewshot=shots,
                                                 fewshot_random_seed=1234)
                samples = sorted(result["samples"][task], key=lambda sample: sample["doc_id"])
                found.setdefault(task, []).append({
                    "num_fewshot": shots,
                    "results": {key: value for key, value in result["results"][task].items()
                                if key.startswith(("acc", "acc_norm"))},
                    "log_likelihoods": [[float(r[0]) for r in sample["filtered_resps"]] for sample in samples],
                    "acc": [sample["acc"] for sample in samples],
                    "acc_norm": [sample.get("acc_norm") for sample in samples],
                    "first_context": samples[0]["arguments"][0][0] if shots else None,
                })
    (OUT / "reference.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
