//! The endings of members in WebDataset.

use super::kind::Kind;
use crate::table::Modality;
use smalti_contract::File;

/// Endings of members that are texts.
const TEXTS: [&str; 3] = ["text", "transcript", "txt"];
/// Endings of members that are whole numbers, which are read as texts.
const COUNTS: [&str; 7] = ["class", "cls", "cls2", "count", "id", "index", "inx"];
/// The ending of a file of a format that is not known.
const UNKNOWN: &str = "bin";
/// Endings of members that are no files of the table.
const OWN: [&str; 3] = ["cls", "json", "txt"];

/// Whether a field of texts has the name of members that are texts.
pub(super) fn is_text(field: &str) -> bool {
    TEXTS.contains(&last(&ending(field)))
}

/// Whether a field of whole numbers has the name of members that are whole numbers.
pub(super) fn is_count(field: &str) -> bool {
    COUNTS.contains(&last(&ending(field)))
}

/// Whether a field has the name of members that are arrays of NumPy.
pub(super) fn is_npy(field: &str) -> bool {
    last(&key(field).to_lowercase()) == "npy"
}

/// The ending of a field of arrays of NumPy.
pub(super) fn npy(field: &str) -> String {
    match ending(field) {
        name if name == "npy" => name,
        name => format!("{name}.npy"),
    }
}

/// The ending of a file of a field: the field's name if it is an ending of such files, so that a field that was read from
/// WebDataset has its old name again; else the file's own ending, after the field's name unless this field alone has files.
pub(super) fn of_file(field: &str, kind: &Kind, is_only: bool, file: &File) -> String {
    let (name, extension) = (ending(field), extension(file));
    let modality = Modality::by_name(&format!("file.{name}"));
    let is_known = match kind {
        Kind::Image => modality == Some(Modality::Image),
        Kind::Audio => modality == Some(Modality::Audio),
        _ => last(&name) == extension && !OWN.contains(&last(&name)),
    };
    match is_known {
        true => name,
        false if is_only && !OWN.contains(&extension.as_str()) => extension,
        false => format!("{name}.{extension}"),
    }
}

/// The ending of a field of files, `*` for what depends on the file.
pub(super) fn pattern(field: &str, kind: &Kind, is_only: bool) -> String {
    let ending = of_file(field, kind, is_only, &File { name: "file.*".into(), bytes: vec![] });
    // A file without an ending that is known has this one.
    ending.strip_suffix(UNKNOWN).map_or(ending.clone(), |name| format!("{name}*"))
}

/// The part of a name after its last dot.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The name of a field as a part of a member's name: in lower case, as readers have it.
pub(super) fn ending(field: &str) -> String {
    let allowed = |c: char| if c.is_alphanumeric() || ['.', '-', '_'].contains(&c) { c } else { '_' };
    let name: String = key(field).trim_matches('.').to_lowercase().chars().map(allowed).collect();
    // An array that was read from a .npy file has its old name again.
    name.strip_suffix(".npy").map_or(name.clone(), str::to_string)
}

/// The name of a field as a key; a field that was read from JSON has its old key again.
pub(super) fn key(field: &str) -> String {
    field.strip_prefix("json.").unwrap_or(field).into()
}

/// The ending of a file: that of its name or, without one, by its content.
fn extension(file: &File) -> String {
    let name = file.name.rsplit(['/', '\\', ':']).next().unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let named = name.rsplit_once('.').map(|(_, extension)| extension.to_lowercase());
    let is_plain = |extension: &String| {
        (1..=8).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    named.filter(is_plain).unwrap_or_else(|| extension_by_content(&file.bytes).into())
}

fn extension_by_content(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "png",
        [0xff, 0xd8, 0xff, ..] => "jpg",
        [b'G', b'I', b'F', b'8', ..] => "gif",
        [b'B', b'M', ..] => "bmp",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "tif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "wav",
        [b'f', b'L', b'a', b'C', ..] => "flac",
        [b'O', b'g', b'g', b'S', ..] => "ogg",
        [b'I', b'D', b'3', ..] | [0xff, 0xe2..=0xff, ..] => "mp3",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "m4a",
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_those_of_names_or_of_contents() {
        let of = |name: &str, bytes: &[u8]| extension(&File { name: name.into(), bytes: bytes.to_vec() });
        assert_eq!(of("a.b/c.JPG", b""), "jpg");
        assert_eq!(of("notes.txt.gz", b""), "txt");
        assert_eq!(of("step 7", b"\x89PNG\r\n"), "png");
        assert_eq!(of("a.b/c", b"RIFF\0\0\0\0WAVEfmt "), "wav");
        assert_eq!(of("x.a strange ending", b"?"), "bin");
        assert_eq!(
            [ending("json.Left Eye"), ending("scan.npy"), key("json.label")],
            ["left_eye", "scan", "label"]
        );
    }

    #[test]
    fn a_name_that_is_an_ending_of_its_kind_is_kept() {
        let of = |field: &str, kind: Kind, is_only: bool, name: &str| {
            of_file(field, &kind, is_only, &File { name: name.into(), bytes: vec![] })
        };
        assert_eq!(of("png", Kind::Image, false, "7.png"), "png");
        assert_eq!(of("left.png", Kind::Image, true, "7.left.png"), "left.png");
        assert_eq!(of("jpeg", Kind::Image, false, "7.jpg"), "jpeg");
        assert_eq!(of("wav", Kind::Audio, false, "7.wav"), "wav");
        assert_eq!(of("seg.dat", Kind::File, false, "7.seg.dat"), "seg.dat");
        assert_eq!(of("png", Kind::Audio, false, "7.wav"), "png.wav");
        assert_eq!(of("photo", Kind::Image, false, "7.png"), "photo.png");
        assert_eq!(of("photo", Kind::Image, true, "7.png"), "png");
        assert_eq!(of("txt", Kind::File, true, "7.txt"), "txt.txt");
        assert_eq!([npy("scan.npy"), npy("npy"), npy("scan")], ["scan.npy", "npy", "scan.npy"]);
        assert!(is_text("caption.txt") && is_text("transcript") && is_count("cls2") && is_npy("scan.npy"));
        assert!(!is_text("label") && !is_npy("scan"));
        assert_eq!(pattern("wav", &Kind::Audio, false), "wav");
        assert_eq!(pattern("sound", &Kind::Audio, false), "sound.*");
        assert_eq!(pattern("sound", &Kind::Audio, true), "*");
    }
}
