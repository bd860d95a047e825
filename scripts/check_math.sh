#!/bin/sh
# Fails where a library that trains or measures calls the C library's logarithms, powers or trigonometry through std: their
# last digits depend on its version and on the processor. ft_kernels::math has those of a crate in Rust, the same
# everywhere. Left out: tests, and the references, which are candle's operators.
#
#   scripts/check_math.sh
set -eu
cd "$(dirname "$0")/.."

found=$(find shared/ft-kernels/src shared/ft-model/src shared/ft-trainer/src shared/ft-measure/src shared/ft-dist/src \
    -name '*.rs' ! -name reference.rs ! -name 'tests.rs' ! -path '*/tests/*' | sort | xargs awk '
    BEGIN {
        names = "(ln|ln_1p|exp|exp2|exp_m1|log2|log10|powf|sin|cos|tan|sin_cos|tanh|cbrt|hypot)"
        call = "\\." names "\\(|f(32|64)::" names "[(),; ]"
    }
    FNR == 1 { test = 0 }
    /^ *#\[cfg\(test\)\]/ { test = 1 }
    !test && $0 ~ call {
        print FILENAME ":" FNR ": " $0
    }')
if [ -n "$found" ]; then
    printf 'check_math: error: take these from ft_kernels::math:\n%s\n' "$found" >&2
    exit 1
fi
echo "check_math: no number comes from the C library's functions" >&2
