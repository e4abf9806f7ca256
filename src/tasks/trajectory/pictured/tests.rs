use super::*;
use smalti_contract::testing::check;
use smalti_trajectory::{Actions, End, FitOptions, MuLaw, Pictures, fit};

/// An episode of so many steps, `state_dim` numbers a state, and pictures of 2×4 pixels from each camera.
fn episode(steps: usize, state_dim: usize, cameras: &[&str]) -> Episode {
    let pixels = |from: usize| (0..8 * steps).map(|i| (17 * (i + from)) as u8).collect::<Vec<_>>().into();
    let frames = |from| Pictures::Frames { height: 2, width: 4, channels: 1, pixels: pixels(from) };
    Episode {
        observations: (0..steps * state_dim).map(|i| i as f32 / 4.0).collect(),
        state_dim,
        state_names: vec![],
        pictures: cameras.iter().enumerate().map(|(c, name)| (name.to_string(), frames(c))).collect(),
        actions: Actions::Discrete((0..steps as u32).map(|step| step % 3).collect()),
        rewards: vec![1.0; steps],
        end: End::Unknown,
    }
}

/// The tokenizer of windows of three steps, whose patches are of 2×2 pixels.
fn tokenizer(episode: &Episode, discretise: Option<MuLaw>) -> PicturedTokenizer {
    let options = FitOptions { context: 3, max_steps: 9, discretise, ..FitOptions::default() };
    let image = ImageConfig { size: None, ..ImageConfig::vit(1, 2, [2, 4]) };
    let cameras = episode.pictures.keys().map(|name| (name.clone(), image.clone())).collect();
    PicturedTokenizer::new(PicturedConfig { trajectory: fit([episode], options).unwrap(), cameras }).unwrap()
}

/// The window that begins at a step, without its last action where `open`.
fn window(tokenizer: &PicturedTokenizer, episode: &Episode, start: usize, open: bool) -> Pictured {
    let mut seen = tokenizer.look(episode, start, &episode.returns_to_go(1.0)).unwrap();
    if let (true, Actions::Discrete(ids)) = (open, &mut seen.window.actions) {
        ids.pop();
    }
    seen
}

/// Each token's kind, row and column in the order of the sequence, the steps apart.
fn drawn(tokenizer: &PicturedTokenizer, tokens: &Tokens) -> String {
    let mut places = Vec::new();
    for (kind, group) in Tokenizer::spec(tokenizer).kinds.iter().zip(&tokens.groups) {
        for i in 0..group.len() {
            let position = group.positions[i * kind.axes.len()..][..kind.axes.len()].iter();
            let position = position.map(u32::to_string).collect::<String>();
            places.push((group.order[i], group.time[i], format!("{}{position}", kind.name)));
        }
    }
    places.sort_unstable();
    let mut text = String::new();
    for (i, (order, time, name)) in places.iter().enumerate() {
        assert_eq!(*order as usize, i);
        let step = if i > 0 && places[i - 1].1 != *time { "| " } else { "" };
        text += &format!("{step}{name} ");
    }
    text.trim_end().to_string()
}

#[test]
fn patches_come_into_each_step_before_its_state() {
    let one = episode(5, 2, &["front"]);
    let tokens = |episode: &Episode, start, open| {
        let tokenizer = tokenizer(episode, None);
        let tokens = tokenizer.encode(&window(&tokenizer, episode, start, open)).unwrap();
        let times: Vec<u32> = tokens.groups[0].time.clone();
        (drawn(&tokenizer, &tokens), times)
    };
    let step = "return patch.front00 patch.front01 state action";
    assert_eq!(tokens(&one, 1, false), (format!("{step} | {step} | {step}"), vec![1, 2, 3]));
    let open = format!("{step} | return patch.front00 patch.front01 state");
    assert_eq!(tokens(&one, 3, true), (open, vec![3, 4]));

    let two = episode(1, 1, &["front", "wrist.left"]);
    let step = "return patch.front00 patch.front01 patch.wrist.left00 patch.wrist.left01 state action";
    assert_eq!(tokens(&two, 0, false).0, step);
    assert_eq!(
        tokens(&episode(1, 0, &[""]), 0, false).0,
        "return patch00 patch01 action",
        "nothing else to see"
    );
}

#[test]
fn the_last_token_before_an_action_is_asked() {
    let asked = |state_dim, cameras: &[&str], discretise| {
        let tokenizer = tokenizer(&episode(2, state_dim, cameras), discretise);
        let (kind, tokens) = tokenizer.asked();
        (kind.name.clone(), tokens)
    };
    assert_eq!(asked(2, &["front"], None), ("state".into(), 1));
    assert_eq!(asked(2, &[], None), ("state".into(), 1));
    assert_eq!(asked(2, &["front"], Some(MuLaw::default())), ("state".into(), 2));
    assert_eq!(asked(0, &["front", "side"], None), ("patch.side".into(), 2));
}

#[test]
fn it_is_a_tokenizer() {
    for discretise in [None, Some(MuLaw::default())] {
        for (state_dim, cameras) in [(2, &["front", "side"][..]), (0, &["", "side"]), (1, &[])] {
            let episode = episode(7, state_dim, cameras);
            let tokenizer = tokenizer(&episode, discretise);
            let windows = [(0, false), (2, true), (6, false)];
            let windows = windows.map(|(start, open)| window(&tokenizer, &episode, start, open));
            check(&tokenizer, &windows).unwrap();
            let tokens = tokenizer.encode(&windows[0]).unwrap();
            assert_eq!(tokenizer.decode(&tokens).unwrap().pictures, windows[0].pictures, "to the pixel");
        }
    }
}

#[test]
fn tokens_that_stand_elsewhere_are_refused() {
    let episode = episode(3, 1, &["front"]);
    let tokenizer = tokenizer(&episode, None);
    let tokens = tokenizer.encode(&window(&tokenizer, &episode, 0, false)).unwrap();
    let swapped = |a: (usize, usize), b: (usize, usize)| {
        let mut tokens = tokens.clone();
        let (first, second) = (tokens.groups[a.0].order[a.1], tokens.groups[b.0].order[b.1]);
        tokens.groups[a.0].order[a.1] = second;
        tokens.groups[b.0].order[b.1] = first;
        tokenizer.decode(&tokens).unwrap_err().to_string()
    };
    assert_eq!(swapped((1, 0), (2, 0)), "tokens stand in the room of pictures");
    assert!(swapped((1, 0), (1, 3)).starts_with("patch token 0 of camera \"front\" is not at the place"));
    assert!(swapped((0, 0), (0, 1)).starts_with("return token 0 is not at the place"));
}

#[test]
fn what_is_missing_or_of_another_size_is_named() {
    let whole = episode(3, 1, &["front"]);
    let tokenizer = tokenizer(&whole, None);
    let seen = |episode: &Episode| {
        tokenizer
            .look(episode, 1, &[2.0; 3])
            .and_then(|seen| tokenizer.encode(&seen))
            .unwrap_err()
            .to_string()
    };
    let with =
        |pictures: Pictures| Episode { pictures: [("front".into(), pictures)].into(), ..whole.clone() };
    let missing = "picture of camera \"front\" at step 1: it is not there";
    assert_eq!(seen(&Episode { pictures: BTreeMap::new(), ..whole.clone() }), missing);
    let short = whole.pictures["front"].slice(0..2);
    assert_eq!(seen(&with(short)), "picture of camera \"front\" at step 2: it is not there");
    let square = Pictures::Frames { height: 4, width: 4, channels: 1, pixels: vec![0; 48].into() };
    assert_eq!(
        seen(&with(square)),
        "picture of camera \"front\" at step 1: 4×4 pixels; expected 2×4, as others are (data.pictures.size resizes)"
    );
    let damaged = Pictures::Encoded(vec![b"\x89PNG".as_slice().into(); 3]);
    assert!(
        seen(&with(damaged)).starts_with("picture of camera \"front\" at step 1: not readable as image: ")
    );
    let elsewhere = Pictures::Files(vec!["a.png".into(); 3]);
    assert!(seen(&with(elsewhere)).ends_with("it lies in \"a.png\", which is not read from here"));

    let resized = ImageConfig { size: Some([4, 4]), ..ImageConfig::vit(1, 2, [4, 4]) };
    let config = PicturedConfig { cameras: [("front".into(), resized)].into(), ..tokenizer.config.clone() };
    let any = PicturedTokenizer::new(config.clone()).unwrap();
    assert_eq!(any.prepare("front", Image::new(9, 5, 3, vec![7; 135]).unwrap()).unwrap().pixels, [7; 16]);
    assert!(any.prepare("side", Image::new(4, 4, 1, vec![7; 16]).unwrap()).is_err());

    let refused = |change: &dyn Fn(&mut ImageConfig)| {
        let mut config = config.clone();
        config.cameras.values_mut().for_each(change);
        PicturedTokenizer::new(config).err().unwrap().to_string()
    };
    assert!(
        refused(&|camera| camera.max_patches = [3, 2])
            .contains("camera \"front\": pictures must be [6, 4] pixels")
    );
    assert!(refused(&|camera| camera.stride = Some(2)).contains("edge to edge"));
    let huge = refused(&|camera| (camera.size, camera.max_patches) = (None, [1 << 20; 2]));
    assert!(huge.contains("order may not exceed 4294967295"), "{huge}");
}
