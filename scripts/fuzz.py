#!/usr/bin/env python3
"""Runs the programs on damaged and hostile files and looks how they end.

    scripts/fuzz.py [--runs N] [--seed S] [--jobs J] [--only NAME] [--keep DIR] [--seconds S]

Every kind of file that the programs read is a case below: a command on a whole file that ends well, and the file that
is damaged for each run (bits, bytes, lengths, cuts, repeats; in JSON, YAML and safetensors headers also values: huge,
negative, of another type, absent). Each run is held to this:

  - it ends within 20 seconds, with exit code 0, 1 or 2;
  - a failure is one line of error on stderr, which is no fault of the program's own (no panic, no abort, no signal);
  - a run that fails leaves nothing under the name of its output;
  - it takes at most 192 MB more than the same command on the whole file, and 24 times what the file is larger.

The seed and the number of a run say what was done to the file: --seed S --run N repeats one. Programs are taken from
FT_BIN (target/release). Needs nothing but Python and the programs; inputs come from testdata/.
"""

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("FT_BIN", ROOT / "target/release")).resolve()
TESTDATA = ROOT / "testdata"
SECONDS = 20
MORE_MEMORY = 192 << 20
PER_BYTE = 24
ADDRESS_SPACE = 6 << 30

# --------------------------------------------------------------------------- inputs

ROWS = [
    {"messages": [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "4"}]},
    {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "And 3?"},
                  {"role": "assistant", "content": "It is 3 — \u00fcberall."}]},
    {"messages": [{"role": "user", "content": "List them"}, {"role": "assistant", "content": "a\nb\nc"},
                  {"role": "user", "content": "again"}, {"role": "assistant", "content": "a b c"}]},
] * 4
CSV = "question,answer,id\n" + "".join(f'"What, is {i}?","It ""is"" {i}",{i}\n' for i in range(40))
RECIPE = """learning_rate: 1.0e-3
max_steps: 2
lora_r: 4
target_modules: [q_proj, v_proj]
lr_scheduler_type: cosine
lr_scheduler_kwargs: {num_cycles: 0.5}
save_steps: 1
seed: 7
"""
TEMPLATE = """{%- for m in messages %}{% if m['role'] == 'system' %}S: {{ m.content | trim }}
{% elif loop.first or m.role != 'x' %}{{ m['role'] | upper }}: {{ m['content'] }}{{ eos_token }}
{% else %}{{ raise_exception('no') }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}ASSISTANT: {% endif %}"""
QUESTIONS = "".join(
    json.dumps({"question": f"What is {i}?", "choices": ["1", "2", "3", "4"], "answer": i % 4}) + "\n" for i in range(4)
)


def run(command, **more):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)


def must(command, **more):
    done = run(command, **more)
    if done.returncode != 0:
        sys.exit(f"fuzz: a command that should work fails: {' '.join(map(str, command))}\n{done.stderr}")
    return done


def prepare(base):
    """Whole files of every kind, in `base`."""
    write = lambda name, text: (base / name).write_text(text)
    write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
    write("rows.json", json.dumps(ROWS))
    write("rows.csv", CSV)
    write("recipe.yaml", RECIPE)
    write("recipe.json", json.dumps({"learning_rate": 1e-3, "max_steps": 2, "lora_r": 4, "seed": 7}))
    write("recipe.toml", 'learning_rate = 1e-3\nmax_steps = 2\nlora_r = 4\nlr_scheduler_type = "cosine"\n[lr_scheduler_kwargs]\nnum_cycles = 0.5\n')
    write("template.jinja", TEMPLATE)
    write("choice.jsonl", QUESTIONS)
    write("metrics.jsonl", "".join(json.dumps({"loss": 2.0 / i, "step": i, "epoch": i / 9}) + "\n" for i in range(1, 9)))
    shutil.copy(TESTDATA / "samples/professional_accounting_dev.arrow", base / "rows.arrow")
    shutil.copytree(TESTDATA / "reference/llama-s1/model", base / "model")
    shutil.copytree(TESTDATA / "reference/llama-s1/adapter_final", base / "adapter")
    shutil.copytree(TESTDATA / "tokenizer", base / "tokenizer")
    shutil.copytree(TESTDATA / "accelerate", base / "accelerate")
    shutil.copytree(base / "tokenizer", base / "chat")
    tiny_llama(base / "chat", vocabulary=len(json.loads((base / "chat/tokenizer.json").read_text())["model"]["vocab"]) + 8)
    shutil.copy(TESTDATA / "gguf/llama3_rope-s5.gguf", base / "model.gguf")
    shutil.copy(TESTDATA / "gguf/llama3_rope-s5.q8_0.gguf", base / "model.q8_0.gguf")
    must([BIN / "ft-prep", base / "rows.jsonl", "-o", base / "examples.parquet"])
    shutil.copy(TESTDATA / "fuzz/tokens.parquet", base / "tokens.parquet")
    shard(base)
    train = [BIN / "ft-train", "--model", base / "model", "--train", base / "tokens.parquet", "--max-steps", "2"]
    must(train + ["--save-steps", "1", "--lora-r", "4", "-o", base / "out", "-q"])


def tiny_llama(folder, vocabulary):
    """A llama of one layer with small numbers, beside a tokenizer."""
    hidden, inner, heads = 16, 24, 2
    layer = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (hidden, hidden),
             "self_attn.v_proj": (hidden, hidden), "self_attn.o_proj": (hidden, hidden), "mlp.gate_proj": (inner, hidden),
             "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner), "input_layernorm": (hidden,),
             "post_attention_layernorm": (hidden,)}
    shapes = {f"model.layers.0.{name}.weight": shape for name, shape in layer.items()}
    shapes |= {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    rng, header, pieces, at = random.Random(0), {}, [], 0
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        pieces.append(struct.pack(f"<{count}f", *(rng.uniform(-0.3, 0.3) for _ in range(count))))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * count]}
        at += 4 * count
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(pieces))
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": vocabulary,
              "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": 1, "num_attention_heads": heads,
              "num_key_value_heads": heads, "max_position_embeddings": 512, "rms_norm_eps": 1e-6,
              "tie_word_embeddings": True, "hidden_act": "silu", "rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps(config))


def shard(base):
    """The model's tensors in two files with an index."""
    folder = base / "sharded"
    folder.mkdir()
    for name in ["config.json", "generation_config.json"]:
        shutil.copy(base / "model" / name, folder / name)
    data = (base / "model/model.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + length]), data[8 + length:]
    header.pop("__metadata__", None)
    names = sorted(header)
    where = {}
    for number, part in enumerate([names[: len(names) // 2], names[len(names) // 2:]], 1):
        file, at, entries, pieces = f"model-0000{number}-of-00002.safetensors", 0, {}, []
        for name in part:
            begin, end = header[name]["data_offsets"]
            entries[name] = dict(header[name], data_offsets=[at, at + end - begin])
            pieces.append(body[begin:end])
            at += end - begin
            where[name] = file
        text = json.dumps(entries).encode()
        (folder / file).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(pieces))
    index = {"metadata": {"total_size": len(body)}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


class Case:
    """A command, and the file of it that is damaged. `{in}` stands for the scratch copy of the inputs, `{out}` for a
    path that must not exist after a failure."""

    def __init__(self, name, damaged, command, output=True):
        self.name, self.damaged, self.command, self.output = name, damaged, command, output


def cases():
    prep = "ft-prep {in}/%s -o {out}"
    train = "ft-train --model {in}/%s --train {in}/tokens.parquet --max-steps 1 --lora-r 2 -q -o {out}"
    loss = "ft-eval loss {in}/tokens.parquet --model {in}/%s --report {out}"
    merge = "ft-merge --model {in}/%s -o {out}"
    template = "ft-template --model {in}/tokenizer {in}/examples.parquet -o {out}"
    all_of = [
        Case("csv", "rows.csv", prep % "rows.csv" + " --input-column question --output-column answer"),
        Case("jsonl", "rows.jsonl", prep % "rows.jsonl"),
        Case("json", "rows.json", prep % "rows.json"),
        Case("arrow", "rows.arrow", prep % "rows.arrow" + " --input-column question --output-column question"),
        Case("parquet rows", "examples.parquet", template),
        Case("parquet rows again", "examples.parquet", prep % "examples.parquet"),
        Case("parquet tokens", "tokens.parquet", train % "model"),
        Case("parquet tokens eval", "tokens.parquet", loss % "model"),
        Case("config.json", "model/config.json", loss % "model"),
        Case("config.json plan", "model/config.json", "ft-bench plan --model {in}/model", False),
        Case("config.json train", "model/config.json", train % "model"),
        Case("generation_config", "model/generation_config.json", merge % "model"),
        Case("safetensors", "model/model.safetensors", loss % "model"),
        Case("safetensors merge", "model/model.safetensors", merge % "model"),
        Case("index", "sharded/model.safetensors.index.json", loss % "sharded"),
        Case("shard", "sharded/model-00001-of-00002.safetensors", merge % "sharded"),
        Case("adapter config", "adapter/adapter_config.json", loss % "model --adapter {in}/adapter"),
        Case("adapter tensors", "adapter/adapter_model.safetensors", loss % "model --adapter {in}/adapter"),
        Case("adapter merge", "adapter/adapter_model.safetensors", merge % "model --adapter {in}/adapter"),
        Case("gguf", "model.gguf", loss % "model.gguf"),
        Case("gguf merge", "model.gguf", merge % "model.gguf"),
        Case("gguf as-is", "model.q8_0.gguf", loss % "model.q8_0.gguf --load-in as-is"),
        Case("tokenizer.json", "tokenizer/tokenizer.json", template),
        Case("tokenizer_config", "tokenizer/tokenizer_config.json", template),
        Case("template", "template.jinja", template + " --chat-template {in}/template.jinja"),
        Case("recipe yaml", "recipe.yaml", train % "model --config {in}/recipe.yaml"),
        Case("recipe json", "recipe.json", train % "model --config {in}/recipe.json"),
        Case("recipe toml", "recipe.toml", train % "model --config {in}/recipe.toml"),
        Case("accelerate", "accelerate/fsdp1.yaml", train % "model --accelerate-config {in}/accelerate/fsdp1.yaml"),
        Case("deepspeed", "accelerate/zero2.json", train % "model --accelerate-config {in}/accelerate/zero2_file.yaml"),
        Case("metrics", "metrics.jsonl", "ft-bench plot {in}/metrics.jsonl -o {out}.svg", False),
        Case("questions", "choice.jsonl", "ft-eval choice {in}/choice.jsonl --model {in}/chat --report {out}"),
        Case("answers", "chat/tokenizer.json", "ft-eval choice {in}/choice.jsonl --model {in}/chat --report {out}"),
    ]
    resume = ("ft-train --model {in}/model --train {in}/tokens.parquet --max-steps 2 --lora-r 4 -q -o {in}/out "
              "--save-steps 1 --resume-from-checkpoint {in}/out/checkpoint-1")
    for file in ["trainer_state.json", "optimizer.safetensors", "adapter_model.safetensors", "adapter_config.json",
                 "configuration.json", "log_window.json", "complete"]:
        all_of.append(Case("checkpoint " + file, "out/checkpoint-1/" + file, resume, False))
    return all_of


# --------------------------------------------------------------------------- damage

NUMBERS = [0, -1, 1, 2, 255, 65536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 10**12, 10**18, 10**30,
           -2**63, 0.5, 1e308, -0.0, 3.7]
VALUES = NUMBERS + ["", "x", "a" * 5000, None, True, False, [], {}, [[[[]]]], {"a": {"a": {}}}, "\u0000", "NaN", "../..",
                    ["x"] * 50, [0, -1], {"type": "none"}]


def walk(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from walk(value[key], path + (key,))
    elif isinstance(value, list):
        for i in range(min(len(value), 30)):
            yield from walk(value[i], path + (i,))


def change_json(rng, value):
    """One value of a JSON document replaced, removed, doubled or renamed."""
    places = [path for path in walk(value) if path]
    if not places:
        return rng.choice(VALUES)
    path = rng.choice(places)
    parent = value
    for step in path[:-1]:
        parent = parent[step]
    key, how = path[-1], rng.random()
    if how < 0.65:
        parent[key] = rng.choice(VALUES)
    elif how < 0.8:
        del parent[key]
    elif isinstance(parent, dict):
        parent[str(rng.choice(["", "x", "Q" * 300, "model.layers.99.x", key + "0"]))] = parent.pop(key)
    else:
        parent.insert(key, parent[key])
    return value


def change_text_json(rng, data):
    lines = data.split(b"\n")
    try:
        return json.dumps(change_json(rng, json.loads(data))).encode()
    except (ValueError, RecursionError):
        pass
    full = [i for i, line in enumerate(lines) if line.strip()]
    if not full:
        return data
    at = rng.choice(full)
    try:
        lines[at] = json.dumps(change_json(rng, json.loads(lines[at]))).encode()
    except (ValueError, RecursionError):
        return change_bytes(rng, data)
    return b"\n".join(lines)


def change_safetensors(rng, data):
    length = struct.unpack("<Q", data[:8].ljust(8, b"\0"))[0]
    text, body = data[8:8 + length], data[8 + length:]
    if rng.random() < 0.2:
        return struct.pack("<Q", rng.choice([0, 1, 2**63, 2**64 - 1, min(length + 1, 2**64 - 1), max(length - 1, 0), 10**9])) + text + body
    text = change_text_json(rng, text)
    return struct.pack("<Q", len(text)) + text + body


def change_header_bytes(rng, data):
    """As change_bytes, within the first kilobytes, where lengths and counts stand."""
    head = min(len(data), 4096)
    return change_bytes(rng, data[:head]) + data[head:]


def change_numbers(rng, data):
    """A little-endian number somewhere becomes an extreme one."""
    width = rng.choice([1, 2, 4, 8])
    if len(data) < width:
        return data
    at = rng.randrange(min(len(data), 1 << 14) - width + 1) if rng.random() < 0.8 else rng.randrange(len(data) - width + 1)
    number = rng.choice([0, 1, 2**(8 * width) - 1, 2**(8 * width - 1), 2**(8 * width - 1) - 1, rng.getrandbits(8 * width)])
    return data[:at] + number.to_bytes(width, "little") + data[at + width:]


def change_tail(rng, data):
    """Parquet and Arrow keep what a file is in its last bytes."""
    cut = max(0, len(data) - rng.choice([8, 64, 512, 4096]))
    return data[:cut] + change_bytes(rng, data[cut:])


def change_bytes(rng, data):
    data = bytearray(data)
    how = rng.randrange(7)
    at = rng.randrange(len(data) + 1)
    if how == 0:
        del data[at:]
    elif how == 1:
        data[at:at] = bytes(rng.getrandbits(8) for _ in range(rng.choice([1, 2, 16, 300])))
    elif how == 2:
        data[at:at] = data[at:at + rng.choice([1, 8, 100, 5000])] * rng.choice([1, 3, 20])
    elif how == 3:
        del data[at:at + rng.choice([1, 2, 8, 64])]
    elif how == 4:
        data[at:at] = rng.choice([b"\xff", b"\x00" * 9, b"\"", b"\n", b"{" * 3000, b"[" * 3000, b"(" * 3000, b"\xef\xbb\xbf",
                                  b"\xc3\x28", b"{%", b"{{", b"1e999", b"NaN", b"-", b"- " * 400, b"&a *a", b"\xed\xa0\x80"])
    else:
        for _ in range(rng.choice([1, 1, 2, 8])):
            if data:
                data[rng.randrange(len(data))] = rng.getrandbits(8)
    return bytes(data)


def damage(rng, name, data):
    ways = [change_bytes, change_bytes, change_numbers]
    if name.endswith((".json", ".jsonl")):
        ways = [change_text_json] * 4 + [change_bytes]
    elif name.endswith(".safetensors"):
        ways = [change_safetensors] * 3 + [change_header_bytes, change_bytes]
    elif name.endswith(".gguf"):
        ways = [change_header_bytes, change_numbers, change_numbers, change_bytes]
    elif name.endswith((".parquet", ".arrow")):
        ways = [change_tail, change_header_bytes, change_bytes, change_numbers]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = rng.choice(ways)(rng, data)
    return data


# --------------------------------------------------------------------------- one run

def limits():
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.setsid()


def spawn(words, cwd):
    """Exit code, stderr, the largest resident set in bytes; none as code where it took too long."""
    words = words + ["--threads", "1"]
    with tempfile.TemporaryFile() as err:
        child = subprocess.Popen(words, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err,
                                 preexec_fn=limits)
        deadline, code, usage = time.monotonic() + SECONDS, None, None
        while code is None:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                os.killpg(child.pid, signal.SIGKILL)
                _, _, usage = os.wait4(child.pid, 0)
                break
            else:
                time.sleep(0.002)
        child.returncode = 0
        err.seek(0)
        return code, err.read().decode("utf-8", "replace"), usage.ru_maxrss * 1024


def verdict(case, scratch, out, done, plain, grown):
    """What is wrong with how a run ended; none where nothing is."""
    code, told, memory = done
    lines = told.rstrip("\n").split("\n")
    errors = [line for line in lines if re.match(r"ft-[a-z]+: error: ", line)]
    if code is None:
        return f"no end within {SECONDS} seconds"
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if "internal fault" in told or "panicked" in told:
        return "a panic"
    if code and (len(errors) != 1 or lines[-1] != errors[0]):
        return f"{len(errors)} lines of error, expected one, the last"
    if not code and errors:
        return "an error, and exit code 0"
    if code and case.output and out.exists() and (out.is_file() or is_result(out)):
        return "a failure that left an output"
    allowed = plain + MORE_MEMORY + PER_BYTE * max(grown, 0)
    if memory > allowed:
        return f"{memory >> 20} MB of memory, expected at most {allowed >> 20}"
    return None


def is_result(folder):
    """Whether a folder holds a finished result: an adapter or a model."""
    return any((folder / name).exists() for name in ["adapter_model.safetensors", "model.safetensors"])


def one(number, seed, base, all_cases, plain, keep):
    rng = random.Random(f"{seed}:{number}")
    case = all_cases[number % len(all_cases)]
    with tempfile.TemporaryDirectory(prefix="ft-fuzz-") as folder:
        scratch = Path(folder) / "in"
        shutil.copytree(base, scratch, copy_function=os.link)
        target = scratch / case.damaged
        whole = target.read_bytes()
        data = damage(rng, target.name, whole)
        target.unlink()
        target.write_bytes(data)
        out = Path(folder) / "result"
        words = case.command.replace("{in}", str(scratch)).replace("{out}", str(out)).split()
        done = spawn([str(BIN / words[0])] + words[1:], folder)
        wrong = verdict(case, scratch, out, done, plain[case.name], len(data) - len(whole))
        if wrong and keep:
            kept = Path(keep) / f"{seed}-{number}-{target.name}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(data)
    if not wrong:
        return done[0], None
    told = " ".join(done[1].split())[-300:]
    return done[0], f"run {number} (--seed {seed} --run {number}), {case.name}: {wrong}\n    {case.command}\n    {told}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", type=int, help="only this run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", help="only cases whose name holds this")
    parser.add_argument("--keep", help="a folder for the files of runs that end wrong")
    args = parser.parse_args()
    all_cases = [case for case in cases() if not args.only or args.only in case.name]
    with tempfile.TemporaryDirectory(prefix="ft-fuzz-base-") as folder:
        base = Path(folder) / "in"
        base.mkdir()
        prepare(base)
        plain = measure(base, all_cases)
        numbers = [args.run] if args.run is not None else range(args.runs)
        begun = time.monotonic()
        with ThreadPoolExecutor(args.jobs) as pool:
            found = list(pool.map(lambda n: one(n, args.seed, base, all_cases, plain, args.keep), numbers))
    codes = [code for code, _ in found]
    wrong = [told for _, told in found if told]
    for told in wrong:
        print(told)
    counts = ", ".join(f"{codes.count(code)} ended with {code}" for code in sorted(set(codes), key=str))
    print(f"fuzz: {len(codes)} runs of {len(all_cases)} cases, seed {args.seed}, "
          f"{time.monotonic() - begun:.0f} s: {counts}; {len(wrong)} ended wrong")
    return 1 if wrong else 0


def measure(base, all_cases):
    """The memory that each command takes on whole files."""
    plain = {}
    for case in all_cases:
        with tempfile.TemporaryDirectory(prefix="ft-fuzz-") as folder:
            scratch, out = Path(folder) / "in", Path(folder) / "result"
            shutil.copytree(base, scratch)
            words = case.command.replace("{in}", str(scratch)).replace("{out}", str(out)).split()
            code, told, memory = spawn([str(BIN / words[0])] + words[1:], folder)
            if code != 0:
                print(f"fuzz: note: '{case.name}' ends with {code} on whole files: {' '.join(told.split())[-200:]}")
            plain[case.name] = memory
    return plain


if __name__ == "__main__":
    sys.exit(main())
