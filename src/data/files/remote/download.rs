//! A whole file over HTTP, as its bytes arrive.

use super::{runtime, with_causes};
use crate::data::error::DataError;
use bytes::Bytes;
use reqwest::{Client, Response};
use std::io::{self, Read};
use std::time::Duration;

/// Time-out of a connection, an answer, or the next bytes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The bytes of the file at an address.
///
/// # Errors
/// [`DataError::Download`] if the server cannot be reached or does not answer with the file.
pub(crate) fn download(url: &str) -> Result<Box<dyn Read>, DataError> {
    super::install_cryptography();
    let failed = |problem: String| DataError::Download { location: url.to_string(), problem };
    let client = Client::builder().connect_timeout(TIMEOUT).read_timeout(TIMEOUT).build();
    let request = client.map_err(|e| failed(with_causes(&e)))?.get(url);
    // Time-outs are set when a request is made, within the runtime.
    let response = runtime()?.block_on(async { request.send().await });
    let response = response.map_err(|e| failed(with_causes(&e)))?;
    match response.status() {
        status if status.is_success() => Ok(Box::new(Body { response, chunk: Bytes::new() })),
        status => Err(failed(format!("the server answered with status {}; expected 200", status.as_u16()))),
    }
}

/// The body of an answer.
struct Body {
    response: Response,
    /// Bytes that have arrived and were not read.
    chunk: Bytes,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let next = runtime().map_err(io::Error::other)?.block_on(async { self.response.chunk().await });
            match next.map_err(|e| io::Error::other(with_causes(&e)))? {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let n = self.chunk.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.chunk.split_to(n));
        Ok(n)
    }
}
