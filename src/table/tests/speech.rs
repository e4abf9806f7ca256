//! Corpora of speech.

use super::*;
use crate::data::testing::{folder_of, tar_of};

/// The skipped files and the reasons, without the folder's name.
fn skipped(folder: &tempfile::TempDir, table: &dyn Table) -> Vec<(String, &'static str)> {
    table.skipped().iter().map(|(path, why)| (path.replace(&at(folder, ""), ""), *why)).collect()
}

/// The names and the bytes of all clips.
fn clips(table: &dyn Table) -> Vec<(String, Vec<u8>)> {
    all(table, "audio").into_iter().map(file).collect()
}

fn clip(name: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    (name.into(), bytes.to_vec())
}

const LIBRISPEECH: [(&str, &[u8]); 8] = [
    ("dev-clean/84/1/84-1-0000.flac", b"A"),
    ("dev-clean/84/1/84-1-0001.wav", b"B"),
    ("dev-clean/84/1/84-1.trans.txt", b"84-1-0000 GO DO\n84-1-0001 YOU\n"),
    ("train-other-500/7/2/7-2-0003.flac", b"C"),
    ("train-other-500/7/2/7-2-0009.flac", b"D"),
    ("train-other-500/7/2/7-2-0009.txt", b"notes"),
    ("train-other-500/7/2/7-2.trans.txt", b"7-2-0003 HEAR\n7-2-0004\n"),
    ("SPEAKERS.TXT", b"84 | F"),
];

#[test]
fn librispeech_is_read_from_its_transcripts() {
    let folder = folder_of(&LIBRISPEECH);
    std::fs::write(at(&folder, "all.tar"), tar_of(&LIBRISPEECH)).unwrap();
    let inside = tempfile::tempdir().unwrap();
    std::fs::write(at(&inside, "x.tar"), tar_of(&LIBRISPEECH)).unwrap();
    for t in [opened(&at(&inside, "x.tar")).unwrap(), opened_as("librispeech", &at(&folder, "")).unwrap()] {
        assert_eq!(t.fields(), ["audio", "text", "speaker", "chapter", "id", "subset", "split"]);
        assert_eq!(all(&*t, "text"), texts(&["GO DO", "YOU", "HEAR", ""]));
        assert_eq!(all(&*t, "speaker"), texts(&["84", "84", "7", "7"]));
        assert_eq!(all(&*t, "chapter"), texts(&["1", "1", "2", "2"]));
        assert_eq!(present(&*t, "id")[3], Value::Text("7-2-0004".into()));
        assert_eq!(all(&*t, "split"), texts(&["validation", "validation", "train", "train"]));
        assert_eq!(present(&*t, "subset")[2], Value::Text("train-other-500".into()));
        assert_eq!(
            file(t.value(1, "audio").unwrap()),
            clip("dev-clean/84/1/84-1-0001.wav", b"B"),
            "the ending of the file"
        );
        assert!(t.location(2).ends_with("7-2.trans.txt row 1"), "{}", t.location(2));
        assert!(t.origin(0).unwrap().contains("84-1-0000.flac") && t.origin(3).is_none());
        let error = t.value(3, "audio").unwrap_err().to_string();
        assert!(error.contains("7-2-0004.flac: not found") && error.ends_with("7-2.trans.txt row 2 names"));
        let skipped: Vec<_> = t.skipped().iter().map(|(path, why)| (path.as_str(), *why)).collect();
        for (ending, why) in [
            ("7-2-0009.flac", "no transcript names it"),
            ("7-2-0009.txt", "not part of the layout"),
            ("SPEAKERS.TXT", "not part of the layout"),
        ] {
            assert!(
                skipped.iter().any(|(path, known)| path.ends_with(ending) && *known == why),
                "{skipped:?}"
            );
        }
    }
    let chapter = table(&folder, "dev-clean/84/1");
    assert_eq!((chapter.len(), chapter.fields().len()), (2, 5), "no folder with the name of a split");
}

#[test]
fn ljspeech_is_read_from_metadata_without_a_header() {
    let files: [(&str, &[u8]); 8] = [
        ("a/metadata.csv", "L-1|Dr. 8|Doctor eight\nL-2|\"so\"\nL-3|3|\n".as_bytes()),
        ("a/wavs/L-1.wav", b"A"),
        ("a/wavs/L-2.flac", b"B"),
        ("a/wavs/L-3.wav", b"C"),
        ("a/wavs/L-4.wav", b"D"),
        ("b/metadata.csv", b"file_name,text\nwavs/x.wav,one\n"),
        ("b/wavs/x.wav", b"X"),
        ("c/metadata.csv", b"L-1\n"),
    ];
    let folder = folder_of(&files);
    std::fs::write(at(&folder, "c.tar"), tar_of(&files[..4])).unwrap();
    for path in ["a", "c.tar"] {
        let t = table(&folder, path);
        assert_eq!(t.fields(), ["audio", "text", "raw_text", "id"], "{path}");
        assert_eq!(all(&*t, "text"), texts(&["Doctor eight", "\"so\"", "3"]));
        assert_eq!(all(&*t, "raw_text"), texts(&["Dr. 8", "\"so\"", "3"]));
        assert_eq!(all(&*t, "id"), texts(&["L-1", "L-2", "L-3"]));
        assert!(t.location(1).ends_with("metadata.csv row 2"));
        assert!(clips(&*t)[1].0.ends_with("wavs/L-2.flac") && clips(&*t)[2].1 == b"C");
    }
    assert_eq!(
        skipped(&folder, &*table(&folder, "a")),
        [("a/wavs/L-4.wav".to_string(), "no transcript names it")]
    );
    assert!(!table(&folder, "b").fields().contains(&"raw_text".to_string()), "a table with a header");
    assert_eq!(
        refusal_as(&folder, "ljspeech", "b"),
        "b/metadata.csv: not readable as metadata of LJ Speech: line 1: expected id|text or id|text|normalized text; found 1 \
         fields"
    );
    assert_eq!(
        refusal_as(&folder, "ljspeech", "c"),
        "c: expected metadata.csv with lines such as LJ001-0001|text beside the folder wavs; found none"
    );
}

const HEADER: &str = "client_id\tpath\tsentence\tage\n";

#[test]
fn common_voice_is_read_by_folder_and_by_table() {
    let table_of = |rows: &str| format!("{HEADER}{rows}");
    let (train, dev) =
        (table_of("s1\ta.mp3\t11\t\ns2\tb.mp3\t22\tteens\n"), table_of("s3\tc.mp3\tThree\t\n"));
    let files: [(&str, &[u8]); 8] = [
        ("clips/a.mp3", b"A"),
        ("clips/b.mp3", b"B"),
        ("clips/c.mp3", b"C"),
        ("dev.tsv", dev.as_bytes()),
        ("reported.tsv", b"sentence\treason\n"),
        ("train.tsv", train.as_bytes()),
        ("validated.tsv", train.as_bytes()),
        ("own.tsv", b"path\tsentence\nclips/a.mp3\tone\n"),
    ];
    let folder = folder_of(&files);
    let packed = tempfile::tempdir().unwrap();
    let members = files.map(|(path, bytes)| (format!("cv/en/{path}"), bytes));
    let members: Vec<(&str, &[u8])> = members.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect();
    std::fs::write(at(&packed, "cv.tar"), tar_of(&members)).unwrap();
    for t in [table(&folder, ""), table(&folder, "{dev,train}.tsv"), table(&packed, "cv.tar")] {
        assert_eq!(t.fields(), ["client_id", "audio", "sentence", "age", "split", "text"]);
        assert_eq!(all(&*t, "text"), texts(&["Three", "11", "22"]));
        assert_eq!(all(&*t, "sentence"), all(&*t, "text"));
        assert_eq!(all(&*t, "split"), texts(&["validation", "train", "train"]));
        assert_eq!(all(&*t, "age"), texts(&["", "", "teens"]));
        assert_eq!(
            clips(&*t),
            [clip("clips/c.mp3", b"C"), clip("clips/a.mp3", b"A"), clip("clips/b.mp3", b"B")]
        );
        assert!(t.origin(1).unwrap().contains("clips/a.mp3") && t.location(1).ends_with("train.tsv row 1"));
    }
    assert_eq!(
        skipped(&folder, &*table(&folder, "")),
        [
            ("own.tsv".to_string(), "not part of the layout"),
            ("reported.tsv".into(), "not part of the layout"),
            ("validated.tsv".into(), "read only if the path names it"),
        ]
    );
    let t = table(&folder, "validated.tsv");
    assert_eq!((t.len(), t.fields().len()), (2, 5), "its name is no split");
    assert_eq!(clips(&*t)[1], clip("clips/b.mp3", b"B"));
    let own = table(&folder, "own.tsv");
    assert_eq!(own.fields(), ["path", "sentence"], "a table of another layout");
    let clips_tar = tar_of(&[("clips/a.mp3", b"A"), ("clips/b.mp3", b"B")]);
    let folder = folder_of(&[("train.tsv", train.as_bytes()), ("clips.tar", &clips_tar)]);
    assert_eq!(clips(&*table(&folder, ""))[1], clip("clips/b.mp3", b"B"));
}

#[test]
fn kaldi_is_read_from_its_lists() {
    let files: [(&str, &[u8]); 12] = [
        ("egs/wavs/a.wav", b"A"),
        ("egs/wavs/b b.wav", b"B"),
        ("egs/data/dev_x/wav.scp", b"a wavs/a.wav\nb  wavs/b b.wav\n"),
        ("egs/data/dev_x/text", b"b  TWO  WORDS\n"),
        ("egs/data/dev_x/utt2spk", b"a s1\nb s2\n"),
        ("egs/data/dev_x/spk2gender", b"s1 f\n"),
        ("egs/data/dev_x/spk2utt", b"s1 a\ns2 b\n"),
        ("egs/data/train/wav.scp", b"c near.wav\nd ./wavs/a.wav\ne gone.wav\nf ../near.wav\n"),
        ("egs/data/train/text", b"c ONE\nd\n"),
        ("egs/data/train/near.wav", b"C"),
        ("egs/README", b"r"),
        ("near.wav", b"not this"),
    ];
    let folder = folder_of(&files);
    std::fs::write(at(&folder, "egs.tar"), tar_of(&files[..11])).unwrap();
    for path in ["egs", "egs.tar/egs"] {
        let t = table(&folder, path);
        assert_eq!(t.fields(), ["audio", "text", "speaker", "gender", "id", "split"], "{path}");
        assert_eq!(all(&*t, "id"), texts(&["a", "b", "c", "d", "e", "f"]));
        assert_eq!(all(&*t, "text"), texts(&["", "TWO  WORDS", "ONE", "", "", ""]));
        assert_eq!(all(&*t, "speaker"), texts(&["s1", "s2", "", "", "", ""]));
        assert_eq!(all(&*t, "gender"), texts(&["f", "", "", "", "", ""]));
        assert_eq!(
            all(&*t, "split"),
            texts(&["validation", "validation", "train", "train", "train", "train"])
        );
        let audio = |row| t.value(row, "audio").map(file);
        assert_eq!(audio(0).unwrap(), clip("wavs/a.wav", b"A"));
        assert_eq!(audio(1).unwrap(), clip("wavs/b b.wav", b"B"));
        assert_eq!(audio(2).unwrap(), clip("near.wav", b"C"), "the nearest");
        assert_eq!(audio(3).unwrap().1, b"A");
        let error = without(&folder, &audio(4).unwrap_err());
        let expected = format!(
            "{path}/data/train/gone.wav: not found; expected a file that {path}/data/train/wav.scp row 3 names, "
        );
        assert!(
            error.starts_with(&expected) && error.ends_with("there or in one of 4 folders above"),
            "{error}"
        );
        assert!(audio(5).unwrap_err().to_string().contains("it leads out of its folder"));
        assert!(t.origin(0).unwrap().contains("wavs/a.wav") && t.origin(4).is_none());
        let skipped = skipped(&folder, &*t);
        assert_eq!(skipped.len(), 2, "{skipped:?}");
    }
    assert_eq!(table(&folder, "egs/data/train").len(), 4);
}

#[test]
fn recordings_lie_in_archives_of_kaldi() {
    let wav = [b"RIFF", &8_u32.to_le_bytes()[..], b"WAVEdata"].concat();
    let folder = folder_of(&[
        ("a/wav.ark", &[b"r ", &wav[..], b"s ", &wav[..9]].concat()),
        ("a/data/train/wav.scp", b"r wav.ark:2\ns wav.ark:20\nt gone.ark:2\nu ../wav.ark:2\n"),
    ]);
    let t = table(&folder, "a");
    assert_eq!(file(t.value(0, "audio").unwrap()), clip("wav.ark:2", &wav));
    assert!(t.origin(0).unwrap().ends_with(" at byte 2") && t.origin(2).is_none());
    let error = |row| without(&folder, &t.value(row, "audio").unwrap_err());
    assert_eq!(
        error(1),
        "a/data/train/wav.scp row 2: wav.ark:20: expected a WAV file of known length at this byte of the archive; found \
         none; write the recordings to WAV or FLAC files and name these"
    );
    assert!(error(2).contains("gone.ark: not found"), "{}", error(2));
    assert!(error(3).contains("it leads out of its folder"), "{}", error(3));
}

#[test]
fn absolute_paths_lie_below_the_folders_that_are_searched() {
    let folder = folder_of(&[("a/b/wavs/x.wav", b"X"), ("a/b/c/d/e/text", b"in ONE\n")]);
    let (inside, outside) = (at(&folder, "a/b/wavs/x.wav"), at(&folder, "none.wav"));
    let list = format!("in {inside}\nout /nowhere/x.wav\nbeside {outside}\n");
    std::fs::write(at(&folder, "a/b/c/d/e/wav.scp"), list).unwrap();
    let t = opened_as("kaldi", &at(&folder, "a/b/c/d/e")).unwrap();
    assert_eq!(file(t.value(0, "audio").unwrap()).1, b"X");
    for row in [1, 2] {
        let error = without(&folder, &t.value(row, "audio").unwrap_err());
        assert!(error.contains("is not allowed: it is absolute"), "{error}");
    }
}

#[test]
fn lists_that_do_not_belong_together_are_named() {
    let lists = |files: &[(&str, &str)]| {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
        refusal(&folder_of(&files), "")
    };
    let scp = ("wav.scp", "r r.wav\n");
    for (files, expected) in [
        (
            &[("wav.scp", "a a.wav\nr sph2pipe -f wav r.sph |\n")][..],
            "wav.scp: not readable as a list of recordings: line 2: expected the path of a recording for \"r\"; found the \
             command \"sph2pipe -f wav r.sph |\", and commands in data are never run; write the recordings to WAV or FLAC files \
             and name these",
        ),
        (
            &[("wav.scp", "r\n")],
            "wav.scp: not readable as a list of recordings: line 1: expected the path of a recording for \"r\"; found nothing",
        ),
        (
            &[("wav.scp", "r a.wav\nr b.wav\n")],
            "wav.scp: not readable as lines of an id and a value: line 2: the id \"r\" occurs twice",
        ),
        (
            &[("wav.scp", "r a.wav\n\ns b.wav\n")],
            "wav.scp: not readable as lines of an id and a value: line 2: expected an id; found a blank line",
        ),
        (
            &[scp, ("text", "r ONE\ns TWO\n")],
            "text: not readable as transcripts: line 2: expected an utterance of wav.scp; found \"s\"; Kaldi's \
             utils/fix_data_dir.sh removes such lines",
        ),
        (
            &[scp, ("segments", "u r 0\n")],
            "segments: not readable as segments: line 1: expected an id, a recording, a start and an end; found \"u\" and \
             \"r 0\"",
        ),
        (
            &[scp, ("segments", "u q 0 1\n")],
            "segments: not readable as segments: line 1: expected a recording of wav.scp; found \"q\"",
        ),
        (
            &[scp, ("segments", "u r 0 1\nv r 2 1\n")],
            "segments: not readable as segments: line 2: expected a start and a later end in seconds; found 2 and 1",
        ),
        (
            &[scp, ("segments", "u r 0 end\n")],
            "segments: not readable as segments: line 1: expected a start and a later end in seconds; found 0 and end",
        ),
        (&[("wav.scp", "\n")], ": empty; expected clips and their texts"),
    ] {
        let found = lists(files);
        assert!(found.ends_with(expected) || found.starts_with(expected), "{found}");
    }
}

#[test]
fn nemo_is_read_from_json_lines() {
    let folder = folder_of(&[
        ("m/train_manifest.json", b"{\"audio_filepath\": \"a.wav\", \"text\": \"one\", \"duration\": 0.5}\n"),
        (
            "m/dev.jsonl",
            b"{\"text\": \"two\", \"audio_filepath\": \"b.wav\"}\n\n{\"audio_filepath\": null}\n",
        ),
        ("m/a.wav", b"A"),
        ("b.wav", b"B"),
        ("both.jsonl", b"{\"audio_filepath\": \"b.wav\", \"audio\": 1}\n"),
        ("other.jsonl", b"{\"path\": \"b.wav\", \"text\": \"two\"}\n"),
        ("list.json", b"[{\"audio_filepath\": \"b.wav\"}]"),
        ("start.jsonl", b"{\"audio_filepath\": \"b.wav\", \"offset\": \"now\"}\n"),
    ]);
    let t = table(&folder, "m/train_manifest.json");
    assert_eq!(t.fields(), ["audio", "text", "duration", "split"]);
    assert_eq!((all(&*t, "split"), clips(&*t)), (texts(&["train"]), vec![clip("a.wav", b"A")]));
    let t = table(&folder, "m/{dev.jsonl,train_manifest.json}");
    assert_eq!(t.fields(), ["text", "audio", "split", "duration"]);
    assert_eq!(all(&*t, "split"), texts(&["validation", "validation", "train"]));
    assert_eq!(file(t.value(0, "audio").unwrap()), clip("b.wav", b"B"));
    assert!(t.value(1, "audio").unwrap().is_missing());
    assert_eq!(table(&folder, "other.jsonl").fields(), ["path", "text"]);
    assert_eq!(
        refusal(&folder, "both.jsonl"),
        "both.jsonl: it has the fields \"audio_filepath\" and \"audio\"; rename one of them"
    );
    assert_eq!(
        refusal_as(&folder, "nemo", "other.jsonl"),
        "other.jsonl: no field \"audio_filepath\"; there is path, text"
    );
    assert!(
        refusal(&folder, "list.json")
            .starts_with("list.json: not readable as JSON lines: line 1: expected a JSON object")
    );
    assert_eq!(
        refusal_as(&folder, "nemo", "m"),
        "m: expected JSON lines with the key audio_filepath; found none"
    );
    let error = table(&folder, "start.jsonl").value(0, "audio").unwrap_err();
    assert_eq!(
        without(&folder, &error),
        "start.jsonl row 1: the field \"offset\": expected a number of seconds; found text"
    );
}

#[cfg(feature = "audio")]
#[test]
fn clips_are_cut_out_of_recordings() {
    use crate::modalities::audio::{Waveform, read, write_wav};
    let samples: Vec<f32> = (0..4000).map(|i| (i % 251) as f32 / 256.0).collect();
    let recording = write_wav(&Waveform { sampling_rate: 1000, samples: samples.clone() }, 16).unwrap();
    let manifest = "{\"audio_filepath\": \"r.wav\", \"offset\": 1, \"duration\": 0.5, \"text\": \"a\"}\n\
        {\"audio_filepath\": \"r.wav\", \"offset\": 3.5, \"text\": \"b\"}\n\
        {\"audio_filepath\": \"r.wav\", \"duration\": 4, \"text\": \"c\"}\n\
        {\"audio_filepath\": \"r.wav\", \"offset\": 3, \"duration\": 2, \"text\": \"d\"}\n";
    let folder = folder_of(&[
        ("r.wav", &recording),
        ("m.jsonl", manifest.as_bytes()),
        ("k/wav.scp", b"r r.wav\n"),
        ("k/segments", b"r-1 r 0.25 0.75\nr-2 r 3 -1\n"),
        ("k/text", b"r-1 ONE\nr-2 TWO\n"),
    ]);
    let heard = |t: &dyn Table, row| read(&file(t.value(row, "audio").unwrap()).1).unwrap().samples;
    let nemo = table(&folder, "m.jsonl");
    assert_eq!(heard(&*nemo, 0), samples[1000..1500]);
    assert_eq!(heard(&*nemo, 1), samples[3500..]);
    assert_eq!(file(nemo.value(2, "audio").unwrap()).1, recording, "without an offset, the whole file");
    let error = without(&folder, &nemo.value(3, "audio").unwrap_err());
    assert_eq!(error, "m.jsonl row 4: r.wav: expected a part of its 4 s; found from 3 s to 5 s");
    let kaldi = table(&folder, "k");
    assert_eq!(kaldi.fields(), ["audio", "text", "id", "offset", "duration"]);
    assert_eq!(
        (heard(&*kaldi, 0), heard(&*kaldi, 1)),
        (samples[250..750].to_vec(), samples[3000..].to_vec())
    );
    assert_eq!(all(&*kaldi, "duration"), numbers(&[0.5, f64::NAN]));
    assert!(kaldi.location(1).ends_with("k/segments row 2"));
}
