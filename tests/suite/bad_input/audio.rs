//! Manifests and audio clips: in training and to transcribe.

use super::{Place, audio_place, audio_train};
use crate::files::{png, wav};
use crate::support::TINY;

#[test]
fn unusable_manifests_are_named() {
    let place = audio_place();
    place.write("png.tsv", &png(8, 8));
    place.write("empty.tsv", b"");
    place.write("headless.tsv", b"a.wav\tab\nb.wav\tba\nc.wav\tab\n");
    place.write("ragged.tsv", b"path\ttext\na.wav\tab\nb.wav\n");
    place.write("rowless.tsv", b"path\ttext\tsplit\n");
    place.write("out.tsv", b"path\ttext\n../secret.wav\tab\n../secret.wav\tba\n");
    let cases: [(&str, &[&str]); 7] = [
        ("none.tsv", &["none.tsv", "not found"]),
        ("png.tsv", &["png.tsv", "UTF-8"]),
        ("empty.tsv", &["empty.tsv", "empty"]),
        ("headless.tsv", &["headless.tsv", "line 1 names the file a.wav", "columns = [\"NAME\", …]"]),
        ("ragged.tsv", &["ragged.tsv", "line 3: expected 2 fields, as the header names; found 1"]),
        ("rowless.tsv", &["rowless.tsv", "expected rows below the header"]),
        ("out.tsv", &["out.tsv row ", "../secret.wav", "leads out of its folder", "allow_outside = true"]),
    ];
    for (path, message) in cases {
        place.fails_untouched(&format!("{} --set data.source={path}", audio_train()), message);
    }
    let filter = format!("{} --set data.train=speaker=theo", audio_train());
    place.fails_untouched(&filter, &["manifest.tsv", "no field \"speaker\"", "path, text, split"]);
    let nobody = format!("{} --set data.validation=split=none", audio_train());
    place.fails_untouched(&nobody, &["data.validation", "selects none of the 3 rows"]);
    let both = format!("{} --set data.train=text=ab --set data.validation=split=valid", audio_train());
    place.fails_untouched(&both, &["data.validation", "selects 1 rows that data.train selects too"]);
    let all = format!("{} --set data.validation=text!=none", audio_train());
    place.fails_untouched(&all, &["data.train", "selects none of the 3 rows"]);
}

/// Corrupt audio clips, and fragments of their errors.
fn corrupt_clips() -> [(Vec<u8>, &'static [&'static str]); 8] {
    [
        (vec![], &["empty"]),
        (wav(8000, 0, 1, 16), &["not readable as WAV", "the clip has no samples"]),
        (wav(1, 100, 1, 16), &["not readable as WAV", "1 Hz; 1000 to 384000 Hz are accepted"]),
        (
            wav(8000, 800, 0x11, 8),
            &["not readable as WAV", "IMA ADPCM; only PCM, IEEE float, A-law and mu-law are supported"],
        ),
        (wav(8000, 800, 1, 12), &["not readable as WAV", "12 bits; 8, 16, 24 and 32 are supported"]),
        (
            wav(8000, 800, 1, 16)[..500].to_vec(),
            &["not readable as WAV", "truncated: expected 1600 bytes in its chunk \"data\"; found 456"],
        ),
        (png(8, 8), &["not readable as audio", "expected WAV, FLAC, MP3"]),
        (ogg_that_panics(), &["not readable as Ogg Vorbis", "the decoder of Ogg Vorbis failed: "]),
    ]
}

/// A clip with a flipped bit in its codebooks, and the checksum of its second page with it.
fn ogg_that_panics() -> Vec<u8> {
    let mut clip = std::fs::read("modalities/audio/tests/files/mono.ogg").unwrap();
    clip[1177] ^= 0x80;
    clip[80..84].copy_from_slice(&[0x65, 0x21, 0xed, 0x42]);
    clip
}

#[test]
fn a_clip_that_makes_the_decoder_panic_can_be_skipped() {
    let place = audio_place();
    place.write("clips/b.wav", &ogg_that_panics());
    let ran = place.works(&format!("{} --set data.corrupt_samples=skip --out run", audio_train()));
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
}

/// A clip is read when its sample is needed, after the run folder is created; before the first step the folder is removed.
#[test]
fn corrupt_clips_in_training_are_named() {
    for (bytes, message) in corrupt_clips() {
        let place = audio_place();
        place.write("clips/b.wav", &bytes);
        let message = [&["b.wav"], message].concat();
        place.fails(&format!("{} --out run", audio_train()), &message); // while the bands are measured
        let unmeasured = format!("{} --set inputs.audio.normalize=false --out run", audio_train());
        place.fails(&unmeasured, &message); // in training
        assert!(!place.path("run").exists());
        place.write("clips/b.wav", &wav(8000, 2400, 1, 16));
        assert!(place.works(&unmeasured).out.contains("run is at step 6"));
    }
    let place = audio_place();
    std::fs::remove_file(place.path("clips/b.wav")).unwrap();
    place.fails(&format!("{} --out run", audio_train()), &["clips/b.wav", "not found"]);
}

#[test]
fn corrupt_clips_to_transcribe_are_named() {
    let place = audio_place();
    place.works(&format!("{} --out run", audio_train()));
    for (bytes, message) in corrupt_clips() {
        place.write("bad.wav", &bytes);
        place.fails("transcribe run bad.wav", &[&["bad.wav"], message].concat());
    }
    place.write("long.wav", &wav(8000, 8000 * 60, 1, 16));
    place.fails(
        "transcribe run long.wav",
        &["long.wav", "6000 frames make 1500 slices of 4; max_slices is 64"],
    );
    place.fails("transcribe run none.wav", &["none.wav", "not found"]);
    for option in ["--language en", "--task translate", "--timestamps", "--beams 2", "--temperature 0.5"] {
        let name = option.split(' ').next().unwrap();
        let message = "applies to outputs with head = \"generate\" only; leave it out for outputs.text";
        place.fails(&format!("transcribe run clips/a.wav {option}"), &[name, message]);
    }
    let found = "the run has inputs audio; outputs text";
    place.fails("classify run clips/a.wav", &["run: expected an output with classes", found]);
    place.fails("generate run", &["run: expected an output that continues texts", found]);
}

/// Lists of a corpus that cannot be read are errors before a run folder is created.
#[test]
fn unusable_corpora_of_speech_are_named() {
    let place = Place::new(&[
        ("command/wav.scp", b"a sph2pipe -f wav a.sph |\n"),
        ("command/text", b"a one\n"),
        ("kaldi/wav.scp", b"a a.wav\nb b.wav\n"),
        ("kaldi/text", b"a one\nc two\n"),
        ("cut/wav.scp", b"r r.wav\n"),
        ("cut/segments", b"a r 2 1\n"),
        ("libri/1/1-2.trans.txt", b"1-2-0 ONE\n1-2-0 TWO\n"),
        ("libri/1/1-2-0.flac", b"fLaC"),
        ("lj/metadata.csv", b"a|one\nb\n"),
        ("lj/wavs/a.wav", b"RIFF"),
        ("cv/train.tsv", b"client_id\tpath\tsentence\ns\ta.mp3\n"),
        ("cv/clips/a.mp3", b"x"),
        ("nemo.jsonl", b"{\"audio_filepath\": \"a.wav\", \"text\": \"one\"}\n{\n"),
        ("path.jsonl", b"{\"path\": \"a.wav\"}\n"),
    ]);
    let cases: [(&str, &[&str]); 9] = [
        (
            "command",
            &["command/wav.scp", "line 1", "sph2pipe -f wav a.sph |", "never run", "WAV or FLAC files"],
        ),
        ("kaldi", &["kaldi/text", "line 2", "expected an utterance of wav.scp; found \"c\""]),
        ("cut", &["cut/segments", "line 1", "a start and a later end in seconds; found 2 and 1"]),
        ("libri", &["libri/1/1-2.trans.txt", "line 2", "the id \"1-2-0\" occurs twice"]),
        ("lj", &["lj/metadata.csv", "line 2", "expected id|text", "found 1 fields"]),
        ("cv", &["cv/train.tsv", "line 2", "expected 3 fields", "found 2"]),
        ("nemo.jsonl", &["nemo.jsonl", "line 2", "expected a JSON object"]),
        (
            "{path=\"path.jsonl\",layout=\"nemo\"}",
            &["path.jsonl", "no field \"audio_filepath\"", "there is path"],
        ),
        ("{path=\"lj\",layout=\"kaldi\"}", &["lj: expected a folder with the file wav.scp; found none"]),
    ];
    for (source, message) in cases {
        place.fails_untouched(&format!("train audio {TINY} --set data.source={source}"), message);
    }
    place.write("kaldi/text", b"a one\nb two\n");
    let message = [".wav: not found", "kaldi/wav.scp row", "folders above"];
    place.fails(&format!("train audio {TINY} --set data.source=kaldi --out run"), &message);
}

/// No path of CTC writes more labels than a clip has slices: alone in its batch, such a clip makes a step without a target.
#[test]
fn a_step_whose_texts_are_too_long_changes_nothing_and_is_counted() {
    let place = audio_place();
    let long = "abcdefghijklmnopqrstuvwxyz".repeat(19);
    let manifest = format!("path\ttext\tsplit\na.wav\tab\ttrain\nb.wav\t{long}\ttrain\nc.wav\tab\tvalid\n");
    place.write("clips/manifest.tsv", manifest.as_bytes());
    let line = format!(
        "{} --set train.batch_size=1 --set train.log_every=1 --set train.warmup_steps=0 --out run",
        audio_train()
    );
    let ran = place.works(&line);
    assert!(ran.err.contains("no target of its batch counts"), "{}", ran.err);
    assert!(ran.err.contains("warning: no target counted in "), "{}", ran.err);
    assert!(!ran.err.contains("learning_rate"), "{}", ran.err);
    let lines = smalti::train::log::read(&place.path("run")).unwrap();
    let steps: Vec<_> = lines.iter().filter(|line| line.get("losses").is_some()).collect();
    let empty = steps.iter().filter(|line| line["loss"].is_null()).count() as u64;
    assert_eq!(steps.len(), 6);
    assert!((1..6).contains(&empty) && steps[5]["empty_steps"] == empty, "{lines:?}");
    assert!(steps.iter().all(|line| line["loss"].is_null() || line["grad_norm"].is_number()), "{lines:?}");
}
