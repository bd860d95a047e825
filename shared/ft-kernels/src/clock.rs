//! The processor's time.

use std::time::Duration;

/// The time that all threads of this process have run so far; zero where the system does not tell.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to the structure that it is given, and to nothing else.
    let told = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) } == 0;
    if told {
        Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.clamp(0, 999_999_999) as u32)
    } else {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_processor_time_and_sleep_does_not() {
        let busy = || {
            let (began, mut sum) = (std::time::Instant::now(), 0u64);
            while began.elapsed() < Duration::from_millis(40) {
                sum = std::hint::black_box(sum.wrapping_mul(3) + 1);
            }
        };
        let before = cpu_time();
        busy();
        let worked = cpu_time().saturating_sub(before);
        // Others may use the processor as well; another test's threads add to ours.
        assert!(worked > Duration::from_millis(1), "{worked:?}");
    }
}
