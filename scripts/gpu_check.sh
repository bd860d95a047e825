#!/usr/bin/env bash
# What a machine with a GPU makes of it, as one report, out/gpu-check.md: every operator against the
# CPU's, whole training runs against transformers' and peft's losses, the programs from end to end on
# both devices, and tokens/s and memory of training. Needs the programs and Python 3; neither Rust nor
# a network.
#
#   scripts/gpu_check.sh [--device cuda] [--quick]
#
# --device  what to compare with the CPU (cuda, cuda:N; cpu takes the plain operators there)
# --quick   fewer models and steps
# FT_BIN    the folder of the programs (target/cuda/release); ft-prep and ft-template may be of any build
set -uo pipefail
cd "$(dirname "$0")/.."

device=cuda
quick=
while [ $# -gt 0 ]; do
    case $1 in
    --device) device=$2; shift 2 ;;
    --quick) quick=1; shift ;;
    *) echo "usage: scripts/gpu_check.sh [--device cuda] [--quick]" >&2; exit 2 ;;
    esac
done
bin=${FT_BIN:-target/cuda/release}
out=out/gpu-check
report=out/gpu-check.md
rm -rf "$out"
mkdir -p "$out"
failed=0

for program in ft-train ft-eval ft-bench; do
    [ -x "$bin/$program" ] || { echo "gpu-check: error: $bin/$program is missing: make cuda-build, or FT_BIN" >&2; exit 1; }
done
tools=$bin
[ -x "$tools/ft-template" ] || tools=target/release
for program in ft-prep ft-template; do
    [ -x "$tools/$program" ] || { echo "gpu-check: error: $tools/$program is missing: make build" >&2; exit 1; }
done

# CUDA's libraries, where PyTorch's packages brought them; the driver's own are found without.
libraries=$(python3 - <<'PYTHON'
import site, sys, pathlib
roots = [pathlib.Path(p) for p in [*site.getsitepackages(), site.getusersitepackages(), *sys.path] if p]
found = {}
for root in roots:
    for folder in sorted(root.glob("nvidia/*/lib")) + sorted(root.glob("nvidia/*/*/lib")):
        if any(folder.glob("*.so*")):
            found[str(folder)] = None
print(":".join(found))
PYTHON
)
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
if ! missing=$(ldd "$bin/ft-bench" 2>&1 | grep 'not found'); then missing=; fi
if [ -n "$missing" ]; then
    echo "gpu-check: error: libraries are missing: $(echo "$missing" | awk '{print $1}' | tr '\n' ' '); set LD_LIBRARY_PATH" >&2
    exit 1
fi

say() { printf '%s\n' "$@" | tee -a "$report"; }

# part TITLE COMMAND…: runs it, with what it prints in the report and how long it took.
part() {
    local title=$1 rc=0 start=$SECONDS
    shift
    say "" "## $title" ""
    printf '%s\n' '```' >>"$report"
    "$@" 2>"$out/part.txt" | tee -a "$report" || rc=$?
    grep -hE "warning: |error: " "$out/part.txt" | tail -n 40 | tee -a "$report"
    printf '%s\n' '```' >>"$report"
    say "" "$([ $rc = 0 ] && echo passed || echo "**FAILED ($rc)**"), $((SECONDS - start)) s"
    [ $rc = 0 ] || failed=1
}

: >"$report"
say "# ft on $device" "" "$(date -u '+%Y-%m-%d %H:%M') UTC"
if command -v nvidia-smi >/dev/null 2>&1; then
    say "" "$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader)"
fi

[ ! -x "$bin/ft-kernels-test" ] ||
    part "Kernels of our own against their references, f32, bf16 and f16" "$bin/ft-kernels-test" --quiet --test-threads 2

if [ -n "$quick" ]; then only=(--only llama-s0,gemma2-s18,gpt2-s28,qwen2-s41-dora,phi3-s15); else only=(); fi
part "Operators and training runs, f32" \
    "$bin/ft-bench" check --device "$device" --reference testdata/reference "${only[@]}" --quiet
[ "$device" = cpu ] ||
    part "The same with TF32 products (errors are told, none is too large)" \
        "$bin/ft-bench" check --device "$device" --tf32 --reference testdata/reference --only llama-s0,gemma2-s18,gpt2-s28 --quiet

# From rows to answers on both devices, with a small model of random weights.
programs() {
    set -e
    local model=$out/model name
    python3 scripts/cuda/tiny_model.py "$model"
    "$tools/ft-prep" testdata/samples/taxes.jsonl testdata/samples/finance_calc.jsonl --test-size 0.2 --seed 42 -o "$out/rows" --quiet
    for name in train test; do
        "$tools/ft-template" --model "$model" --max-seq-length 2048 --overlong drop "$out/rows/$name.parquet" -o "$out/$name.parquet" --quiet
    done
    "$tools/ft-template" --model "$model" --mode test "$out/rows/test.parquet" -o "$out/prompts.parquet" --quiet
    for name in cpu device again; do
        local folder=$out/$name on=(--device "$device")
        [ "$device" != cpu ] || on+=(--reference-operators)
        [ $name != cpu ] || on=(--device cpu)
        "$bin/ft-train" --model "$model" --train "$out/train.parquet" --output-dir "$folder" "${on[@]}" --precision f32 \
            --max-steps 10 --per-device-train-batch-size 4 --learning-rate 1e-3 --lora-dropout 0.1 --neftune-noise-alpha 5 \
            --logging-steps 1 --quiet
        "$bin/ft-eval" loss --model "$model" --adapter "$folder" "${on[@]}" "$out/test.parquet" --report "$folder/loss.json" --quiet
        "$bin/ft-eval" generate --model "$model" --adapter "$folder" "${on[@]}" --max-new-tokens 16 --limit 8 \
            "$out/prompts.parquet" -o "$folder/answers.parquet" --report "$folder/answers.json" --quiet
    done
    python3 - "$out" <<'PYTHON'
import hashlib, json, pathlib, sys
out = pathlib.Path(sys.argv[1])
def losses(folder):
    lines = [json.loads(line) for line in open(out / folder / "metrics.jsonl")]
    return [line["loss"] for line in lines if "loss" in line]
cpu, gpu, again = losses("cpu"), losses("device"), losses("again")
worst = max(abs(a - b) for a, b in zip(cpu, gpu))
print(f"losses of {len(cpu)} steps on the CPU:   ", *(f"{x:.5f}" for x in cpu))
print(f"losses of {len(gpu)} steps on the device:", *(f"{x:.5f}" for x in gpu))
evaluated = [json.load(open(out / name / "loss.json"))["loss"] for name in ("cpu", "device")]
print(f"largest difference {worst:.2e}; loss after them {evaluated[0]:.5f} and {evaluated[1]:.5f}")
digest = lambda folder: hashlib.sha256((out / folder / "adapter_model.safetensors").read_bytes()).hexdigest()[:16]
print(f"adapter on the device {digest('device')}, a second time {digest('again')}:",
      "the same bits" if digest("device") == digest("again") else "OTHER BITS")
scores = [json.load(open(out / name / "answers.json")) for name in ("cpu", "device")]
print("answers:", *(json.dumps({k: v for k, v in s.items() if isinstance(v, (int, float))}) for s in scores))
sys.exit(worst > 1e-3 or abs(evaluated[0] - evaluated[1]) > 1e-3 or gpu != again)
PYTHON
}
part "The programs on both devices" bash -c "$(declare -f programs); $(declare -p bin tools out device); programs"

gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')
if [ "$device" != cpu ] && [ "$gpus" -ge 2 ]; then
    two_ranks() {
        "$bin/ft-train" --model "$out/model" --train "$out/train.parquet" --output-dir "$out/two" --device cuda --precision f32 \
            --nproc-per-node 2 --max-steps 10 --per-device-train-batch-size 2 --learning-rate 1e-3 --logging-steps 1 --quiet &&
            python3 -c 'import json,sys; print(*(json.loads(l).get("loss") for l in open(sys.argv[1])))' "$out/two/metrics.jsonl"
    }
    part "Two ranks through NCCL" two_ranks
else
    say "" "## Two ranks through NCCL" "" "not run: $gpus GPU"
fi

# figures NAME ARGUMENTS…: one line of the table of tokens/s.
figures() {
    local name=$1 json=$out/bench.json
    shift
    if "$bin/ft-bench" train --device "$device" --random-weights "$@" --json "$json" --quiet >/dev/null 2>"$out/stderr.txt"; then
        python3 - "$name" "$json" <<'PYTHON' | tee -a "$report"
import json, sys
f = json.load(open(sys.argv[2]))
peak = f["peak_memory_bytes"]
print(f"| {sys.argv[1]} | {f['batch_size']} × {f['seq_len']} | {f['tokens_per_second']:,.0f} | {f['gflops'] / 1000:.2f} "
      f"| {f['best_product_gflops'] / 1000:.1f} | {peak / 1e9:.2f} | {f['losses'][-1]:.4f} |")
PYTHON
    else
        say "| $name | failed: $(tail -n 1 "$out/stderr.txt") | | | | | |"
        failed=1
    fi
}

say "" "## Training, tokens/s (r 16 on all linear layers, every token labelled, random weights)" "" \
    "| model | batch | tokens/s | TFLOP/s | best product, TFLOP/s | peak, GB | loss |" "|---|---|---:|---:|---:|---:|---:|"
small=(--model scripts/cuda/shapes/smollm2-135m)
large=(--model scripts/cuda/shapes/llama-3.2-1b)
if [ "$device" = cpu ]; then
    figures "SmolLM2-135M, f32" "${small[@]}" --batch-size 1 --seq-len 64 --max-steps 1
else
    steps=(--max-steps "$([ -n "$quick" ] && echo 3 || echo 6)")
    for shape in "4 256" "16 512" "8 2048"; do
        read -r batch length <<<"$shape"
        size=(--batch-size "$batch" --seq-len "$length" "${steps[@]}")
        figures "SmolLM2-135M, f32" "${small[@]}" "${size[@]}"
        figures "SmolLM2-135M, f32, TF32" "${small[@]}" "${size[@]}" --tf32
        figures "SmolLM2-135M, bf16 weights, TF32" "${small[@]}" "${size[@]}" --tf32 --load-in bf16
    done
    size=(--batch-size 8 --seq-len 1024 "${steps[@]}")
    figures "Llama-3.2-1B, f32" "${large[@]}" "${size[@]}"
    figures "Llama-3.2-1B, f32, TF32" "${large[@]}" "${size[@]}" --tf32
    figures "Llama-3.2-1B, bf16 weights, TF32" "${large[@]}" "${size[@]}" --tf32 --load-in bf16
fi

say "" "$([ $failed = 0 ] && echo "Everything passed" || echo "**Something failed**") after $SECONDS s."
echo "gpu-check: $report" >&2
exit $failed
