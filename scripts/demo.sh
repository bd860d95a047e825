#!/bin/sh
# The whole pipeline on a real model and real data: SmolLM2-135M-Instruct is fine-tuned on
# accounting and tax questions, merged, and evaluated before and after. Ends with a table.
# `make demo` builds and fetches first, then calls this; about 10 minutes on two cores.
#
#   scripts/demo.sh [OUT]            default: out/demo
set -eu
cd "$(dirname "$0")/.."

out=${1:-out/demo}
bin=target/release
model=.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
evals=.cache/data/evals
mmlu=.cache/data/mmlu/professional_accounting/test.arrow

started=$(date +%s)
say() { printf '\n\033[1m== %s\033[0m\n' "$*" >&2; }
run() { printf '$ %s\n' "$*" >&2; "$@"; }

for file in "$bin/ft-train" "$model" "$mmlu"; do
    [ -e "$file" ] || { echo "demo: error: $file is missing: run 'make demo', which builds and fetches" >&2; exit 1; }
done
rm -rf "$out"
mkdir -p "$out"

say "1. Rows: four files of chats become one split of examples"
run $bin/ft-prep $evals/taxes.jsonl $evals/finance_calc.jsonl $evals/invoices.jsonl $evals/accounting_audit.jsonl \
    --test-size 0.1 --seed 42 --report "$out/prep.json" --leak-report "$out/leaks.jsonl" -o "$out/rows"

say "2. Tokens: the model's own chat template; only the answers are learned"
for side in train test; do
    run $bin/ft-template --model $model --labels completion --max-seq-length 512 --overlong drop \
        "$out/rows/$side.parquet" -o "$out/$side.parquet"
done

say "3. Before: held-out loss, and MMLU professional accounting"
run $bin/ft-eval loss --model $model "$out/test.parquet" --report "$out/loss_before.json"
run $bin/ft-eval choice --model $model $mmlu --report "$out/choice_before.json"

say "4. Training: LoRA of rank 16 on all linear layers, one pass over the chats"
run $bin/ft-train --model $model --train "$out/train.parquet" --eval "$out/test.parquet" --output-dir "$out/adapter" \
    --lora-r 16 --lora-alpha 32 --learning-rate 5e-4 --lr-scheduler-type cosine --warmup-ratio 0.1 \
    --num-train-epochs 1 --per-device-train-batch-size 8 --eval-steps 20 --logging-steps 1 --seed 42

say "5. Merging: a Hugging Face folder that transformers, vLLM and llama.cpp's converter read"
run $bin/ft-merge --model $model --adapter "$out/adapter" --dtype bf16 -o "$out/merged"

say "6. After: the same measures, on the merged model"
run $bin/ft-eval loss --model "$out/merged" "$out/test.parquet" --report "$out/loss_after.json"
run $bin/ft-eval choice --model "$out/merged" $mmlu --report "$out/choice_after.json"

say "7. Answers to held-out questions"
run $bin/ft-template --model $model --mode test "$out/rows/test.parquet" -o "$out/questions.parquet"
run $bin/ft-eval generate --model $model --max-new-tokens 16 "$out/questions.parquet" -o "$out/answers_before.parquet" \
    --report "$out/generate_before.json"
run $bin/ft-eval generate --model "$out/merged" --max-new-tokens 16 "$out/questions.parquet" \
    -o "$out/answers_after.parquet" --report "$out/generate_after.json"

say "8. The machine: a short training benchmark"
run $bin/ft-bench train --model $model --max-steps 2 --json "$out/bench.json"

say "Result"
scripts/demo_table.py "$out" "$(($(date +%s) - started))" | tee "$out/table.txt"
