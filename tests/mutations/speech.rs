//! Damaged lists of corpora of speech.

use crate::place::{MIB, Place};
use smalti::data::{DataError, read};
use smalti::table::{Source, SourceRegistry};
use smalti_mutation::{Bound, survives};

/// A corpus of speech, one of whose files is damaged: its list is read, and then each clip if it can be.
fn corpora(layout: &str, file: &str, good: &[&str], beside: &[(&str, &[u8])]) {
    let place = Place::beside(file, beside);
    let good: Vec<Vec<u8>> = good.iter().map(|text| text.as_bytes().to_vec()).collect();
    survives(&format!("{layout} {file}"), &good, Bound::bytes(2 * MIB).and_of_file(200), |bytes| {
        let location = place.with(bytes);
        let path = if layout == "nemo" { location } else { place.folder() };
        let source = Source { layout: Some(layout.into()), ..Source::new(path) };
        let table = SourceRegistry::builtin().open(&source)?;
        for row in 0..table.len() {
            table.fields().iter().try_for_each(|field| table.peek(row, field).map(drop))?;
            // The path may be damaged.
            let _ = table.value(row, "audio");
        }
        Ok::<_, DataError>(())
    });
}

#[test]
fn damaged_corpora_of_speech_are_read_or_an_error() {
    let wav = read("builtin:touchtone.tar/clips/000.wav").unwrap();
    let clips = [("a.wav", &wav[..]), ("clips/a.wav", &wav), ("wavs/a.wav", &wav), ("1-2-0.wav", &wav)];
    let with = |more: &[(&'static str, &'static [u8])]| -> Vec<(&str, &[u8])> {
        clips.iter().chain(more).copied().collect()
    };
    let (scp, segments) = ("r a.wav\ns wavs/a.wav\n", "u-1 r 0 0.1\nu-2 r 0.05 -1\n");
    let lists = with(&[("wav.scp", b"r a.wav\n"), ("text", b"u-1 one\n"), ("utt2spk", b"u-1 s\n")]);
    corpora("kaldi", "wav.scp", &[scp], &with(&[("text", "r eins\n".as_bytes())]));
    corpora(
        "kaldi",
        "text",
        &["u-1 gr\u{fc}n und\nu-2 blau\n"],
        &[&lists[..], &[("segments", segments.as_bytes())]].concat(),
    );
    corpora("kaldi", "segments", &[segments], &lists);
    let lists = with(&[("wav.scp", b"r a.wav\n"), ("text", b"r one\n"), ("utt2spk", b"r s\n")]);
    corpora("kaldi", "utt2spk", &["r s\n", "r gr\u{fc}n\nu-2 t\n"], &lists);
    corpora("kaldi", "spk2gender", &["s f\nt m\n"], &lists);
    corpora("librispeech", "1-2.trans.txt", &["1-2-0 ONE TWO\n1-2-1 GR\u{dc}N\n"], &with(&[]));
    corpora("ljspeech", "metadata.csv", &["a|1|one\nb|zwei\n", "a|gr\u{fc}n\n"], &with(&[]));
    let release = "client_id\tpath\tsentence\tage\ns\ta.wav\tOne.\t\nt\tb.wav\tGr\u{fc}n\tteens\n";
    corpora("common_voice", "train.tsv", &[release], &with(&[]));
    let manifest = "{\"audio_filepath\": \"a.wav\", \"offset\": 0.05, \"duration\": 0.1, \"text\": \"one\"}\n\
        {\"audio_filepath\": \"wavs/a.wav\", \"text\": \"gr\\u00fcn\"}\n";
    corpora("nemo", "x.jsonl", &[manifest], &with(&[]));
}
