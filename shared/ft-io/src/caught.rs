//! Panics of libraries that read what others wrote.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `read`; where a library panics over a damaged file, what it said. Nothing that `read` has changed may be used
/// after that.
///
/// # Errors
/// The words of the panic, on one line.
pub fn caught<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|panic| words(&*panic))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no word of what is wrong").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_words() {
        assert_eq!(caught(|| 1), Ok(1));
        assert_eq!(caught(|| [1, 2, 3].iter().position(|&x| x == 3)), Ok(Some(2)));
        let none: Vec<u8> = Vec::new();
        let told = caught(|| none[std::hint::black_box(3)]).unwrap_err();
        assert_eq!(told, "index out of bounds: the len is 0 but the index is 3");
    }
}
