//! Files over HTTP, as their bytes arrive.

use super::timeouts::Timeouts;
use super::{install_cryptography, runtime, with_causes};
use crate::data::error::DataError;
use bytes::Bytes;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use std::io::{self, Read};
use std::sync::LazyLock;

/// The most redirects of a request.
const REDIRECTS: usize = 10;

/// The bytes of the file at an address.
///
/// # Errors
/// [`DataError::Download`] if the server cannot be reached or does not answer with the file.
pub(crate) fn download(url: &str) -> Result<Box<dyn Read>, DataError> {
    let failed = |problem: String| DataError::Download { location: url.to_string(), problem };
    let address = Url::parse(url).map_err(|e| failed(e.to_string()))?;
    let (response, _) = get(&address, None).map_err(failed)?;
    match response.status() {
        status if status.is_success() => Ok(Box::new(Body { response, rest: Bytes::new() })),
        status => Err(failed(format!("the server answered with status {}; expected 200", status.as_u16()))),
    }
}

/// The answer to a request after all redirects, and the headers that the server of the address itself sent, of which later
/// ones replace earlier ones.
///
/// That server alone gets the token. If reqwest followed the redirects, it would send the token again at the second redirect on
/// another server.
///
/// # Errors
/// The reason why there is no answer.
pub(crate) fn get(url: &Url, token: Option<&str>) -> Result<(Response, HeaderMap), String> {
    let (client, runtime) = (client()?, runtime().map_err(|e| e.to_string())?);
    let (mut url, origin, mut headers) = (url.clone(), url.origin(), HeaderMap::new());
    for _ in 0..=REDIRECTS {
        let is_own = url.origin() == origin;
        let request = client.get(url.clone());
        let request = match token.filter(|_| is_own) {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = runtime.block_on(async { request.send().await }).map_err(|e| problem(&e))?;
        if is_own {
            headers.extend(response.headers().clone());
        }
        let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
        let Some(location) = location else { return Ok((response, headers)) };
        let next = location.to_str().ok().and_then(|location| url.join(location).ok());
        url = next.ok_or_else(|| format!("{url}: expected a redirect to an address, found {location:?}"))?;
    }
    Err(format!("{url}: more than {REDIRECTS} redirects"))
}

/// The next bytes of an answer; `None` at its end.
///
/// # Errors
/// If the connection breaks.
pub(crate) fn chunk(response: &mut Response) -> io::Result<Option<Bytes>> {
    let next = runtime().map_err(io::Error::other)?.block_on(async { response.chunk().await });
    next.map_err(|e| io::Error::other(problem(&e)))
}

/// Describe an error; one of a time-out names the variables that state it.
fn problem(error: &reqwest::Error) -> String {
    let text = with_causes(error);
    if !error.is_timeout() {
        return text;
    }
    let variables = "SMALTI_CONNECT_TIMEOUT, SMALTI_READ_TIMEOUT and SMALTI_DOWNLOAD_TIMEOUT state the time-outs in seconds";
    format!("{text}; {variables}")
}

/// The client of this process.
fn client() -> Result<&'static Client, String> {
    static CLIENT: LazyLock<Result<Client, String>> = LazyLock::new(|| {
        install_cryptography();
        let timeouts = Timeouts::of_environment()?;
        let client = Client::builder()
            .user_agent(concat!("smalti/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(timeouts.connect)
            .read_timeout(timeouts.read)
            .timeout(timeouts.total);
        client.build().map_err(|e| with_causes(&e))
    });
    CLIENT.as_ref().map_err(String::clone)
}

/// The body of an answer.
struct Body {
    response: Response,
    /// Bytes that have arrived and were not read.
    rest: Bytes,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match chunk(&mut self.response)? {
                Some(chunk) => self.rest = chunk,
                None => return Ok(0),
            }
        }
        let n = self.rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.rest.split_to(n));
        Ok(n)
    }
}
