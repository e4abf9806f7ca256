//! Speed of encoding a text with GPT-2's vocabulary, on one thread and on all.
//!
//! ```text
//! cargo run --release -p smalti-text --example bpe_speed -- encoder.json vocab.bpe text.txt
//! ```
//!
//! `benches/peer_bpe.py` measures `tokenizers` from Python on the same files.

use smalti_contract::Tokenizer;
use smalti_text::{TextConfig, TextTokenizer, published};
use std::time::Instant;

const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [encoder, merges, text] = &arguments[..] else {
        return Err("expected three files: encoder.json vocab.bpe text.txt".into());
    };
    let vocabulary = published::gpt2(&std::fs::read(encoder)?, &std::fs::read(merges)?)?;
    let tokenizer = TextTokenizer::new(TextConfig::new(vocabulary, 1))?;
    let text = std::fs::read_to_string(text)?;

    let ids = tokenizer.ids(&text)?;
    assert_eq!(tokenizer.text(&ids), text, "decoding gives the same text");
    let fastest = |encode: &dyn Fn() -> usize| {
        let round = || {
            let begun = Instant::now();
            assert_eq!(encode(), ids.len());
            begun.elapsed().as_secs_f64()
        };
        (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
    };
    let one = fastest(&|| tokenizer.ids(&text).map_or(0, |ids| ids.len()));
    let all = fastest(&|| tokenizer.ids_in_parallel(&text).map_or(0, |ids| ids.len()));
    for (what, seconds) in [("one thread", one), ("all threads", all)] {
        let (ms, rate) = (1e3 * seconds, text.len() as f64 / 1e6 / seconds);
        println!("{what}: {} bytes to {} ids in {ms:.1} ms, {rate:.1} MB/s", text.len(), ids.len());
    }
    Ok(())
}
