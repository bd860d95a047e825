//! The search for a group's scale that the K-quants share.

/// Below this a group counts as zero.
const EPSILON: f32 = 1e-15;

/// The nearest whole number, ties to even, of what is less than 2^22 in magnitude: the bits of a float of that size.
pub(super) fn nearest(x: f32) -> i32 {
    ((x + 12_582_912.0).to_bits() & 0x007f_ffff).cast_signed() - 0x0040_0000
}

/// `make_qx_quants` with squares as weights: a scale for codes from -`most` to `most` - 1 such that the weighted squares
/// of what is lost are least among 19 candidates, and the codes, `most` added to each.
pub(super) fn scale(x: &[f32], most: i32, codes: &mut [i8]) -> f32 {
    let (largest, signed) =
        x.iter().fold((0.0f32, 0.0f32), |(most, at), &x| if x.abs() > most { (x.abs(), x) } else { (most, at) });
    if largest < EPSILON {
        codes.fill(0);
        return 0.0;
    }
    let code = |inverse: f32, x: f32| nearest(inverse * x).clamp(-most, most - 1);
    let put = |inverse: f32, codes: &mut [i8]| {
        codes.iter_mut().zip(x).for_each(|(to, &x)| *to = (code(inverse, x) + most) as i8);
    };
    // Products of the elements and their codes, and of the codes with themselves.
    let sums = |inverse: f32| {
        x.iter().fold((0.0f32, 0.0f32), |(sum_lx, sum_l2), &x| {
            let (l, w) = (code(inverse, x) as f32, x * x);
            (sum_lx + w * x * l, sum_l2 + w * l * l)
        })
    };
    let inverse = -most as f32 / signed;
    put(inverse, codes);
    let (sum_lx, sum_l2) = sums(inverse);
    let mut scale = if sum_l2 == 0.0 { 0.0 } else { sum_lx / sum_l2 };
    let mut best = scale * sum_lx;
    for step in (-9..=9).filter(|step| *step != 0) {
        let inverse = -(most as f32 + 0.1 * step as f32) / signed;
        let (sum_lx, sum_l2) = sums(inverse);
        if sum_l2 > 0.0 && sum_lx * sum_lx > best * sum_l2 {
            put(inverse, codes);
            scale = sum_lx / sum_l2;
            best = scale * sum_lx;
        }
    }
    scale
}

/// Candidates of [`scale_and_least`].
#[derive(Clone, Copy)]
pub(super) struct Candidates {
    /// The largest code.
    pub most: i32,
    /// What is added to it in the first one.
    pub first: f32,
    /// How many follow, a tenth apart.
    pub steps: i32,
}

/// `make_qkx2_quants` with squared errors: scale and least value (as what is taken off, so not negative) of 32 elements
/// for codes from 0 on, such that the weighted squares of what is lost are least among the candidates; and the codes.
pub(super) fn scale_and_least(x: &[f32; 32], weights: &[f32; 32], of: Candidates, codes: &mut [u8; 32]) -> (f32, f32) {
    let most = of.most as f32;
    let mut least = x.iter().copied().fold(x[0], |least, x| if x < least { x } else { least });
    let highest = x.iter().copied().fold(x[0], |highest, x| if x > highest { x } else { highest });
    let (sum_w, sum_x) = x
        .iter()
        .zip(weights)
        .skip(1)
        .fold((weights[0], weights[0] * x[0]), |(sum_w, sum_x), (x, w)| (sum_w + w, sum_x + w * x));
    if least > 0.0 {
        least = 0.0;
    }
    #[expect(clippy::float_cmp, reason = "a group of one value")]
    if highest == least {
        codes.fill(0);
        return (0.0, -least);
    }
    let code = |inverse: f32, x: f32| nearest(inverse * x).clamp(0, of.most) as u8;
    let lost = |scale: f32, least: f32, codes: &[u8; 32]| {
        x.iter().zip(weights).zip(codes).fold(0.0f32, |sum, ((x, w), code)| {
            let difference = scale * f32::from(*code) + least - x;
            sum + w * (difference * difference)
        })
    };
    let inverse = most / (highest - least);
    let mut scale = 1.0 / inverse;
    *codes = x.map(|x| code(inverse, x - least));
    let mut best = lost(scale, least, codes);
    for step in 0..=of.steps {
        // From the least value of the best candidate so far, as llama.cpp does.
        let inverse = (of.first + 0.1 * step as f32 + most) / (highest - least);
        let tried = x.map(|x| code(inverse, x - least));
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0f32, 0.0f32, 0.0f32);
        for ((x, w), code) in x.iter().zip(weights).zip(tried) {
            let l = f32::from(code);
            sum_l += w * l;
            sum_l2 += w * l * l;
            sum_xl += w * l * x;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant > 0.0 {
            let mut this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let mut this_least = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
            if this_least > 0.0 {
                this_least = 0.0;
                this_scale = sum_xl / sum_l2;
            }
            let error = lost(this_scale, this_least, &tried);
            if error < best {
                (*codes, best, scale, least) = (tried, error, this_scale, this_least);
            }
        }
    }
    (scale, -least)
}
