//! Time-outs of requests, as environment variables state them.

use std::time::Duration;

/// Time-outs of a request, in seconds.
pub(crate) struct Timeouts {
    /// For a connection: `SMALTI_CONNECT_TIMEOUT`, 10 by default.
    pub connect: Duration,
    /// For an answer, or for its next bytes: `SMALTI_READ_TIMEOUT`, 20 by default.
    pub read: Duration,
    /// For a whole file: `SMALTI_DOWNLOAD_TIMEOUT`, a day by default.
    pub total: Duration,
}

impl Timeouts {
    /// Read the variables.
    ///
    /// # Errors
    /// A message, if the value of one is no number of seconds.
    pub fn of_environment() -> Result<Self, String> {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let seconds = |name: &str, default: u64| {
            let Some(text) = variable(name) else { return Ok(Duration::from_secs(default)) };
            let seconds = text.trim().parse::<f64>().ok().filter(|seconds| (0.001..=1e9).contains(seconds));
            let seconds = seconds.map(Duration::from_secs_f64);
            seconds.ok_or_else(|| format!("{name}: expected a number of seconds above 0, found {text:?}"))
        };
        Ok(Self {
            connect: seconds("SMALTI_CONNECT_TIMEOUT", 10)?,
            read: seconds("SMALTI_READ_TIMEOUT", 20)?,
            total: seconds("SMALTI_DOWNLOAD_TIMEOUT", 86_400)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_state_the_time_outs() {
        let read = |text: &str| {
            let text = Some(text.to_string());
            Timeouts::of(|name| text.clone().filter(|_| name == "SMALTI_READ_TIMEOUT"))
                .map(|found| found.read)
        };
        assert_eq!(read("0.5"), Ok(Duration::from_millis(500)));
        for text in ["soon", "0", "-1", "NaN", ""] {
            assert!(read(text).unwrap_err().starts_with("SMALTI_READ_TIMEOUT: expected"), "{text}");
        }
        assert_eq!(Timeouts::of(|_| None).unwrap().connect, Duration::from_secs(10));
    }
}
