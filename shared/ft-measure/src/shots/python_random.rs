//! Python's `random.Random`, as far as lm-eval draws examples with it: the Mersenne Twister (M. Matsumoto and T. Nishimura,
//! 1998) and `sample`.

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// `random.Random(seed)`.
#[derive(Debug, Clone)]
pub(super) struct PythonRandom {
    state: [u32; SIZE],
    next: usize,
}

impl PythonRandom {
    /// `random.Random(seed)` of a whole number.
    pub fn new(seed: u64) -> Self {
        let mut state = [0; SIZE];
        state[0] = 19_650_218;
        for i in 1..SIZE {
            state[i] = mixed(state[i - 1]).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        // The seed's words, of which there is at least one.
        let words = [seed as u32, (seed >> 32) as u32];
        let words = if words[1] == 0 { &words[..1] } else { &words[..] };
        let mut i = 1;
        let step = |state: &mut [u32; SIZE], i: &mut usize| {
            *i += 1;
            if *i >= SIZE {
                state[0] = state[SIZE - 1];
                *i = 1;
            }
        };
        for k in 0..SIZE.max(words.len()) {
            let j = k % words.len();
            let before = mixed(state[i - 1]).wrapping_mul(1_664_525);
            state[i] = (state[i] ^ before).wrapping_add(words[j]).wrapping_add(j as u32);
            step(&mut state, &mut i);
        }
        for _ in 0..SIZE - 1 {
            let before = mixed(state[i - 1]).wrapping_mul(1_566_083_941);
            state[i] = (state[i] ^ before).wrapping_sub(i as u32);
            step(&mut state, &mut i);
        }
        state[0] = 1 << 31;
        Self { state, next: SIZE }
    }

    /// `sample(range(population), count)`; `count` is `population` at most.
    pub fn sample(&mut self, population: usize, count: usize) -> Vec<usize> {
        // Python keeps a set of what was drawn where that is smaller than a list of all.
        let mut set_size = 21;
        if count > 5 {
            let mut power = 1;
            while power < 3 * count {
                power *= 4;
            }
            set_size += power;
        }
        let mut drawn = Vec::with_capacity(count);
        if population <= set_size {
            let mut pool: Vec<usize> = (0..population).collect();
            for i in 0..count {
                let at = self.below(population - i);
                drawn.push(pool[at]);
                pool[at] = pool[population - i - 1];
            }
        } else {
            while drawn.len() < count {
                let one = self.below(population);
                if !drawn.contains(&one) {
                    drawn.push(one);
                }
            }
        }
        drawn
    }

    /// `_randbelow(bound)`; `bound` is above 0 and below 2^32.
    fn below(&mut self, bound: usize) -> usize {
        let bits = usize::BITS - bound.leading_zeros();
        loop {
            let drawn = (self.word() >> (32 - bits.min(32))) as usize;
            if drawn < bound {
                return drawn;
            }
        }
    }

    fn word(&mut self) -> u32 {
        if self.next == SIZE {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9D2C_5680;
        y ^= (y << 15) & 0xEFC6_0000;
        y ^ (y >> 18)
    }

    fn refill(&mut self) {
        for k in 0..SIZE {
            let y = (self.state[k] & 0x8000_0000) | (self.state[(k + 1) % SIZE] & 0x7FFF_FFFF);
            let odd = if y & 1 == 1 { 0x9908_B0DF } else { 0 };
            self.state[k] = self.state[(k + SHIFT) % SIZE] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }
}

fn mixed(word: u32) -> u32 {
    word ^ (word >> 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python 3: `r = random.Random(seed); [r.sample(range(n), k) for _ in range(2)]`.
    #[test]
    fn samples_are_pythons() {
        let of = |seed: u64, population: usize, count: usize| {
            let mut random = PythonRandom::new(seed);
            [random.sample(population, count), random.sample(population, count)]
        };
        assert_eq!(of(1234, 6, 3), [vec![3, 0, 4], vec![0, 4, 5]]);
        assert_eq!(of(1234, 40, 3), [vec![28, 7, 0], vec![5, 37, 2]]);
        assert_eq!(of(1234, 100, 6), [vec![99, 56, 14, 0, 11, 74], vec![4, 85, 88, 10, 12, 98]]);
        assert_eq!(of(0, 300, 7), [vec![197, 215, 20, 132, 261, 248, 207], vec![155, 244, 183, 298, 111, 258, 71]]);
        assert_eq!(of(1099511627781, 21, 5), [vec![16, 20, 8, 0, 19], vec![1, 5, 2, 4, 7]]);
        assert_eq!(of(1234, 5000, 2), [vec![3610, 957], vec![61, 742]]);
    }
}
