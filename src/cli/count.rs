//! Whole numbers on the command line.

/// The most of a number that counts rows, tokens or steps.
pub const MANY: usize = i32::MAX as usize;

/// Parses a whole number from 0 to `MOST`: each count has a bound, because some of them size what is allocated.
pub fn up_to<const MOST: usize>(text: &str) -> Result<usize, String> {
    let found = text.parse::<usize>().ok().filter(|found| *found <= MOST);
    found.ok_or_else(|| format!("expected a whole number from 0 to {MOST}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_has_a_most() {
        assert_eq!(up_to::<9>("9"), Ok(9));
        for text in ["10", "-1", "many", "18446744073709551616"] {
            assert_eq!(up_to::<9>(text).unwrap_err(), "expected a whole number from 0 to 9");
        }
    }
}
