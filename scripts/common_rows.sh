# Sourced by the scripts that train the real model: where programs and model are, and rows to train on.
#
# shellcheck shell=sh disable=SC2034
bin=${FT_BIN:-target/release}
model=.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf

for file in "$bin/ft-train" "$model"; do
    [ -e "$file" ] || { echo "error: $file is missing: run 'make build', which builds, and 'scripts/fetch model'" >&2; exit 1; }
done

# make_rows OUT [FOLDER]: the chats of FOLDER (testdata/samples, or .cache/data/evals, which has them all) as
# OUT/train.parquet and OUT/test.parquet, only answers learned
make_rows() {
    from=${2:-testdata/samples}
    $bin/ft-prep -q "$from/taxes.jsonl" "$from/finance_calc.jsonl" "$from/accounting_audit.jsonl" \
        --test-size 0.1 --seed 42 -o "$1/rows"
    for side in train test; do
        $bin/ft-template -q --model $model --labels completion --max-seq-length 512 --overlong drop \
            "$1/rows/$side.parquet" -o "$1/$side.parquet"
    done
}
