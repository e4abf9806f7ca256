//! A text of any size is read with bounded memory. A separate test binary, because it measures the memory of the
//! process.
#![cfg(target_os = "linux")]

use smalti_contract::Tokenizer;
use smalti_text::{Ids, TextConfig, TextTokenizer, Vocabulary, fit};
use std::io::Read;

/// An endless stream of numbered words, few of which repeat: a hard case for a vocabulary.
struct Sentences {
    number: u64,
    buffer: Vec<u8>,
}

impl Read for Sentences {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.buffer.len() < into.len().min(1 << 16) {
            self.number = self.number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            self.buffer.extend(
                format!("word{} is not the number {},\n", self.number >> 40, self.number >> 50).bytes(),
            );
        }
        let n = self.buffer.len().min(into.len());
        into[..n].copy_from_slice(&self.buffer[..n]);
        self.buffer.drain(..n);
        Ok(n)
    }
}

fn sentences(mib: usize) -> impl Read + Send {
    Sentences { number: 1, buffer: vec![] }.take((mib as u64) << 20)
}

/// The peak memory of the process, in MiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() >> 10
}

/// SMALTI_TEXT_MIB is the size of the text in MiB, by default 8; bytes and characters use four times as much.
#[test]
fn memory_does_not_grow_with_the_text() {
    let mib = std::env::var("SMALTI_TEXT_MIB").map_or(8, |mib| mib.parse().unwrap());
    let before = peak();
    let bytes = TextConfig::new(Vocabulary::Bytes, 8);
    let characters = fit::characters_of(sentences(4 * mib), vec![], 8).unwrap();
    for (name, config) in [("bytes", bytes), ("characters", characters)] {
        let ids = Ids::read(sentences(4 * mib), &TextTokenizer::new(config).unwrap()).unwrap();
        assert_eq!(ids.len(), (4 * mib) << 20, "all is ASCII");
        println!("{name}: {} MiB of text, at most {} MiB held", 4 * mib, peak() - before);
    }
    assert!(peak() - before < 96, "{} MiB; the ids alone are {} MiB", peak() - before, 16 * mib);

    let pairs = fit::bpe(sentences(1), 400, vec![], 8).unwrap();
    println!("fitting byte pairs to 1 MiB: at most {} MiB held", peak() - before);
    let ids = Ids::read(sentences(mib), &TextTokenizer::new(pairs).unwrap()).unwrap();
    println!("byte pairs: {mib} MiB of text, {} ids, at most {} MiB held", ids.len(), peak() - before);
    assert!(ids.len() > mib << 17 && peak() - before < 256);
}
