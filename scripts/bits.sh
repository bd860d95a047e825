#!/usr/bin/env bash
# Ten training steps of each real model with its frozen matrices in each number of bits, then a few generated words:
# the loss, the bytes that the matrices take, and the peak of memory beside the one foreseen.
#
#   make bits        (SmolLM2, and Gemma-3-270M, which it fetches: 238 MB)
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${FT_BIN:-target/release}
out=out/bits
cache=.cache/models
rm -rf "$out" && mkdir -p "$out"

rows() { # model, name, further arguments of ft-template
    local model=$1 name=$2
    shift 2
    "$bin/ft-prep" testdata/samples/taxes.jsonl testdata/samples/finance_calc.jsonl -q -o "$out/rows.parquet"
    "$bin/ft-template" --model "$model" "$@" --max-seq-length 256 -q -o "$out/$name.parquet" "$out/rows.parquet"
    "$bin/ft-template" --model "$model" "$@" --mode test -q -o "$out/$name-prompts.parquet" "$out/rows.parquet"
}

field() { python3 -c "import json,sys; print(json.load(open(sys.argv[1])).get(sys.argv[2]))" "$1" "$2"; }

run() { # model name, file, bits
    local name=$1 model=$2 bits=$3 dir
    dir=$out/$name-$bits
    "$bin/ft-train" --model "$model" --train "$out/$name.parquet" -o "$dir" --load-in "$bits" --max-steps 10 \
        --per-device-train-batch-size 4 --learning-rate 5e-4 --lr-scheduler-type constant --logging-steps 1 \
        --gradient-checkpointing --no-shuffle --lora-r 16 2>"$dir.log" || { cat "$dir.log" >&2; return 1; }
    "$bin/ft-eval" generate --model "$model" --load-in "$bits" --adapter "$dir" --max-new-tokens 12 --limit 1 \
        "$out/$name-prompts.parquet" -o "$dir/answers.parquet" --report "$dir/answers.json" 2>>"$dir.log" || { tail -3 "$dir.log" >&2; return 1; }
    python3 - "$dir" "$name" "$bits" <<'P'
import json, re, sys
folder, name, bits = sys.argv[1:]
losses = [json.loads(line)["loss"] for line in open(folder + "/metrics.jsonl") if '"loss"' in line]
first, last = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
run = json.load(open(folder + "/run.json"))
log = open(folder + ".log").read()
frozen = re.search(r"([\d.]+) bytes a parameter", log)
peak, said = run["peak_memory_bytes"] / 1e6, run["predicted_peak_memory_bytes"] / 1e6
print(f"{name:12} {bits:6} {first:7.3f} {last:7.3f}  {frozen.group(1) if frozen else '-':>7} {peak:7.0f} {said:9.0f} {said / peak:6.2f}")
assert last < first, "the loss does not fall"
P
}

rows "$cache/SmolLM2-135M-Instruct.Q4_1.gguf" smollm2
models=(smollm2)
if [ -f "$cache/gemma-3-270m.Q4_K_M.gguf" ]; then
    rows "$cache/gemma-3-270m.Q4_K_M.gguf" gemma3 --chat-template scripts/plain_chat.jinja
    models+=(gemma3)
fi
printf '%-12s %-6s %7s %7s  %7s %7s %9s %6s\n' model bits 'loss 1-3' '8-10' 'B/param' 'peak MB' 'foreseen' ratio
for name in "${models[@]}"; do
    case $name in
        smollm2) model=$cache/SmolLM2-135M-Instruct.Q4_1.gguf ;;
        gemma3) model=$cache/gemma-3-270m.Q4_K_M.gguf ;;
    esac
    for bits in f32 bf16 8bit 4bit as-is; do run "$name" "$model" "$bits"; done
done
