//! Generation with cached keys and values.

use super::{batch, document, pair, part, sample, shipped};
use smalti::data::Stream;
use smalti::inference::{Generation, generate};
use smalti::pretrained;
use smalti::sample::Role;
use smalti_contract::{Content, Tokens, Value};

/// With cached keys and values, the most likely next token is that of a forward pass over the whole text.
#[test]
fn cached_generation_equals_the_forward_pass() {
    for (name, folder) in shipped() {
        let model = pretrained::open(&folder).unwrap();
        let question = [5, 9, 4, 11];
        let likeliest = |inputs: Vec<(Stream, Tokens)>, never: &[u32]| {
            let logits = model.model.outputs(&batch(&model, vec![document(0, inputs)])).unwrap().remove(0);
            let last: Vec<f32> = logits.get(logits.dim(0).unwrap() - 1).unwrap().to_vec1().unwrap();
            let ids = (0..last.len() as u32).filter(|id| !never.contains(id));
            ids.max_by(|&a, &b| last[a as usize].total_cmp(&last[b as usize]).then(b.cmp(&a))).unwrap()
        };
        let whole =
            |ids: &[u32]| vec![(Stream::Main, part(&model, "text").unwrap().sequence(ids.into()).unwrap())];
        if let Some(source) = part(&model, "source") {
            let target = part(&model, "target").unwrap();
            let row = [("source", Value::Text("5 9 4 11".into()))];
            let generation = Generation { max_new_tokens: Some(7), ..Generation::default() };
            let found =
                generate(&model.model, 0, &model.task, 0, &sample(&model, 0, &row), &generation).unwrap();
            let mut written = target.special_ids.begin.clone();
            for step in 0..7 {
                let inputs = pair(&model, source.sequence(question.to_vec()).unwrap(), &written);
                let likeliest = likeliest(inputs, &target.special_ids.begin);
                if target.special_ids.end.contains(&likeliest) {
                    assert_eq!(found.len(), step, "{name}");
                    break;
                }
                assert_eq!(found[step], likeliest, "{name} at {step}");
                written.push(likeliest);
            }
        } else if part(&model, "text")
            .is_some_and(|text| text.windows && matches!(text.role, Role::Generated(_)))
        {
            let (mut written, mut cache, mut read) = (question.to_vec(), model.model.cache(), 0);
            for _ in 0..7 {
                let mut next = whole(&written);
                let group = &mut next[0].1.groups[0];
                let after = |values: &mut Vec<u32>| _ = values.drain(..read.min(values.len()));
                group.content = Content::Ids(written[read..].to_vec());
                [&mut group.positions, &mut group.order, &mut group.time].into_iter().for_each(after);
                read = written.len();
                let logits = model.model.step(&batch(&model, vec![document(0, next)]), &mut cache).unwrap();
                let last = logits[0].get(logits[0].dim(0).unwrap() - 1).unwrap();
                let id: u32 = last.argmax(0).unwrap().to_scalar().unwrap();
                assert_eq!(id, likeliest(whole(&written), &[]), "{name} at {}", written.len());
                written.push(id);
            }
        }
    }
}
