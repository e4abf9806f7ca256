//! Tiny Shakespeare has the same ids as in nanoGPT.

use smalti_contract::Tokenizer;
use smalti_text::{TextTokenizer, fit};

#[test]
#[ignore = "needs SMALTI_DATA"]
fn tiny_shakespeare_has_65_characters() {
    let data = std::env::var("SMALTI_DATA").expect("SMALTI_DATA is the folder of the data");
    let file = std::fs::read(format!("{data}/text/tinyshakespeare.txt")).unwrap();
    let text = std::str::from_utf8(&file).unwrap();
    let tokenizer = TextTokenizer::new(fit::characters([text], vec!["<mask>".into()], 256).unwrap()).unwrap();
    assert_eq!((tokenizer.ordinary_size(), tokenizer.special("<mask>")), (65, Some(65)));

    let ids = tokenizer.ids(text).unwrap();
    assert_eq!(ids.len(), 1_115_394);
    assert_eq!(ids[..13], [18, 47, 56, 57, 58, 1, 15, 47, 58, 47, 64, 43, 52], "First Citizen");
    assert_eq!(tokenizer.text(&ids), text);
    let texts: Vec<String> = tokenizer.raw_inputs(&file).collect::<Result<_, _>>().unwrap();
    assert_eq!(texts, [text]);
}
