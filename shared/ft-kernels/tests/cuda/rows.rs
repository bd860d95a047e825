use candle_core::Tensor;
use ft_kernels::rows::{reference, sum_rows};

use crate::common::{TYPES, assert_close, bits, bound, exact, in_every_order, kernels, matrix};

/// One of the sequences is empty, one longer than a run.
const STARTS: [usize; 6] = [0, 1, 1, 34, 40, 140];

#[test]
fn sums_are_the_reference_and_a_sequence_is_alone() {
    for dtype in TYPES {
        for columns in [1, 130, 200] {
            let dy = matrix(1, 140, columns, dtype);
            let found = in_every_order(|| sum_rows(kernels(), &dy, &STARTS).unwrap());
            let expected = reference::sum_rows(&exact(&dy), &STARTS).unwrap();
            let stacked = |sums: &[Tensor]| Tensor::stack(sums, 0).unwrap();
            assert_close(&stacked(&found), &stacked(&expected), bound(dtype));
            for (pair, found) in STARTS.windows(2).zip(&found) {
                let own = dy.narrow(0, pair[0], pair[1] - pair[0]).unwrap();
                let alone = sum_rows(kernels(), &own, &[0, pair[1] - pair[0]]).unwrap();
                assert!(bits(found) == bits(&alone[0]), "{pair:?}");
            }
        }
    }
}
