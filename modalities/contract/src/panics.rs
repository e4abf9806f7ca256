//! Panics of libraries that decode files, as errors of the file.
//!
//! Some libraries index and unwrap by values of the file that they decode, too deep inside for a check from outside. A corrupt
//! file must not end a training, so a reader calls such a library within [`caught`].

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Calls of [`caught`] that this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Run a function that may panic, and return its result or the message of its panic.
///
/// For the decoding of one file or one row, of which nothing is kept after a panic; not for state that outlives the call.
/// A panic hook that asks [`is_caught`] prints nothing for such a panic, as the hook of the program `smalti` does.
///
/// # Errors
/// The panic's message.
///
/// ```
/// let third = |bytes: &[u8]| smalti_contract::caught(|| bytes[2]);
/// assert_eq!(third(b"abc"), Ok(b'c'));
/// assert!(third(b"a").unwrap_err().starts_with("index out of bounds"));
/// ```
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    DEPTH.set(DEPTH.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    done.map_err(|panic| message(&*panic).to_string())
}

/// Whether a panic of this thread is caught by [`caught`], for a panic hook.
pub fn is_caught() -> bool {
    // A thread that ends has no such variable any more, and calls nothing that is caught.
    DEPTH.try_with(|depth| depth.get() > 0).unwrap_or(false)
}

/// Return the message of a panic from its payload.
pub fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_its_message_and_leaves_no_trace() {
        let nested = caught(|| {
            let inner = caught::<()>(|| panic!("row {}", 7));
            (inner, is_caught())
        });
        assert_eq!(nested, Ok((Err("row 7".to_string()), true)));
        assert_eq!(caught::<()>(|| panic!("plain")), Err("plain".to_string()));
        assert_eq!(caught::<()>(|| std::panic::panic_any(3)), Err("no reason given".to_string()));
        assert!(!is_caught());
    }
}
