use super::*;
use crate::Image;

#[test]
fn arrays_of_bytes_with_more_axes_are_images() {
    let frames = |shape: &str, numbers: u8| npy::write("|u1", shape, 0..numbers);
    let episodes = read(&archive(&with("obs.front", frames("(3, 2, 1, 3)", 18)))).unwrap();
    let pixels = |episode: usize, step: usize| match episodes[episode].images["front"].get(step) {
        Some(Image::Frame { height: 2, width: 1, channels: 3, pixels }) => pixels,
        other => panic!("{other:?}"),
    };
    assert_eq!((pixels(0, 1), pixels(1, 0)), (&[6, 7, 8, 9, 10, 11][..], &[12, 13, 14, 15, 16, 17][..]));
    assert_eq!(
        (episodes[0].state_dim, episodes[1].images["front"].len()),
        (2, 1),
        "in addition to the numbers"
    );

    let only = read(&archive(&with("obs", frames("(3, 2, 2)", 12)))).unwrap();
    assert_eq!((only[0].state_dim, only[0].observations.len(), only[0].images[""].len()), (0, 0, 2));

    assert_eq!(
        error(&with("obs.front", frames("(2, 2, 1, 3)", 12))),
        "obs.front must have 3 rows, as obs has; found 2"
    );
    let stacked = read(&archive(&with("obs.front", frames("(3, 2, 1, 2)", 12)))).unwrap();
    let expected = Some(Image::Frame { height: 2, width: 2, channels: 1, pixels: &[4, 5, 6, 7] });
    assert_eq!(stacked[0].images["front"].get(1), expected, "two grey frames side by side");
    let many = error(&with("obs.front", npy::write("|u1", "(3, 70, 70, 70)", vec![0; 1_029_000])));
    assert!(
        many.starts_with("npz: array \"obs.front\": expected [steps, height, width] for images"),
        "{many}"
    );
    let of_actions = error(&with("actions", frames("(3, 1, 1)", 3)));
    assert_eq!(of_actions, "column \"actions\" has images; only observations may have them");
    let real = error(&with("obs.front", npy::write("<f4", "(3, 1, 1)", vec![0; 12])));
    assert!(real.contains("3 or more axes of uint8, or (rows, height, width, channels); found"), "{real}");
    let shares = [0.0_f32, 0.5, 1.0].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let scaled = read(&archive(&with("obs.front", npy::write("<f4", "(3, 1, 1, 1)", shares)))).unwrap();
    let expected = Some(Image::Frame { height: 1, width: 1, channels: 1, pixels: &[128] });
    assert_eq!(scaled[0].images["front"].get(1), expected, "from 0 to 1");
    let mut by_columns = frames("(3, 2, 2)", 12);
    let at = by_columns.windows(5).position(|text| text == b"False").unwrap();
    by_columns.splice(at..at + 5, *b"True ");
    assert!(error(&with("obs", by_columns)).contains("numpy.ascontiguousarray"));
    let nothing = npy::write("|u1", "(0, 9223372036854775807, 9223372036854775807)", vec![]);
    assert!(read(&archive(&with("obs", nothing))).is_err());
}

#[test]
fn images_under_an_unknown_name_are_an_error() {
    let numbers = || npy::write("<f4", "(2, 1)", [0; 8]);
    let log = |extra: (&'static str, Vec<u8>)| {
        let starts = npy::write("|b1", "(2,)", [1, 0]);
        read(&archive(&[
            ("obs", numbers()),
            ("actions", numbers()),
            ("rewards", numbers()),
            ("episode_starts", starts),
            extra,
        ]))
    };
    let error = log(("front", npy::write("|u1", "(2, 3, 3)", [0; 18]))).unwrap_err().to_string();
    assert!(error.contains("\"front\" has images; rename it to \"obs.front\""), "{error}");
    for (shape, bytes) in [("(2, 3)", 6), ("(2,)", 2)] {
        log(("flags", npy::write("|u1", shape, vec![0; bytes]))).unwrap();
    }
    log(("images", npy::write("<f4", "(2, 3, 3)", [0; 72]))).unwrap();
}
