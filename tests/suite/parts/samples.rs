//! Order and rules of tokens, missing fields, modality dropout, sharing.

use super::{PARTS, kinds, number, open, phrase, rows};
use smalti::data::Target;
use smalti::model::Model;
use smalti::task::Task;
use smalti_contract::Value;

#[test]
fn parts_without_a_clock_keep_the_order_of_the_file_and_generated_ones_come_last() {
    let (opened, _) = open(PARTS).unwrap();
    let [with, without] = [0, 1].map(|wanted| {
        let place = opened.train_rows.rows().rows.iter().position(|row| row % 2 == wanted).unwrap();
        opened.train.sample(place, None).unwrap()
    });
    let names = kinds(&opened, &with);
    assert_eq!(names[..4], ["front.patch", "front.patch", "speed.number", "label.class"]);
    assert!(names[4..].iter().all(|name| name == "goal.character") && names.len() > 10);
    assert_eq!(
        kinds(&opened, &without)[..3],
        ["front.patch", "front.patch", "label.class"],
        "a missing part has no tokens"
    );
    let [class, goal] = &with.outputs[..] else { panic!("two outputs") };
    assert_eq!((class.head, class.places.as_deref(), goal.head), (0, Some(&[3][..]), 1));
    let Target::Ids { ids, .. } = &goal.target else { panic!("ids") };
    assert_eq!(ids.len(), names.len() - 4, "a target for each token, the last is the end");
    assert_eq!(opened.task.decode(1, ids).unwrap(), phrase("go left"));
}

#[test]
fn generated_tokens_attend_to_all_inputs_and_no_input_attends_to_them() {
    let (opened, config) = open(PARTS).unwrap();
    let model =
        Model::new(&config.model, &[opened.task.spec().clone()], 0, &candle_core::Device::Cpu).unwrap();
    let rules = model.rules(0);
    let rule = |query: &str, key: &str| {
        let place = |name: &str| rules.kinds().iter().position(|kind| kind == name).unwrap();
        rules.get(place(query), place(key)).to_string()
    };
    assert_eq!(rule("front.patch", "speed.number"), "all");
    assert_eq!(rule("label.class", "front.patch"), "all");
    assert_eq!(rule("goal.character", "front.patch"), "all");
    assert_eq!(rule("goal.character", "goal.character"), "causal");
    for key in ["front.patch", "speed.number", "label.class"] {
        assert_eq!(rule(key, "goal.character"), "never");
    }
}

const POLICY: &str = "[inputs.goal]\nmodality = \"text\"\ncontext = 16\n[inputs.state]\nmodality = \"numbers\"\n\
                      [outputs.action]\nhead = \"classify\"\n";

#[test]
fn a_series_is_predicted_at_the_token_before_it_and_later_steps_attend_to_it() {
    let (opened, config) = open(POLICY).unwrap();
    let sample = opened.validation.sample(0, None).unwrap();
    let names = kinds(&opened, &sample);
    let n = names.iter().filter(|name| *name == "goal.character").count();
    assert_eq!(names[n..], ["state.number", "action.number"].repeat(3), "the goal has no clock");
    let places: Vec<u32> = [0, 2, 4].map(|step| (n + step) as u32).to_vec();
    assert_eq!(sample.outputs[0].places.as_ref(), Some(&places));
    let model =
        Model::new(&config.model, &[opened.task.spec().clone()], 0, &candle_core::Device::Cpu).unwrap();
    let rules = model.rules(0);
    let place = |name: &str| rules.kinds().iter().position(|kind| kind == name).unwrap();
    let rule = |query: &str, key: &str| rules.get(place(query), place(key)).to_string();
    assert_eq!(rule("state.number", "goal.character"), "all");
    assert_eq!(rule("state.number", "action.number"), "causal");
    assert_eq!(rule("goal.character", "state.number"), "never", "it would leak later steps");
}

#[test]
fn later_steps_of_a_series_do_not_change_earlier_predictions() {
    let parts = format!("{POLICY}[outputs.label]\nhead = \"classify\"\n");
    let (opened, mut config) = open(&parts).unwrap();
    config.model.n_layers = 3;
    let model =
        Model::new(&config.model, &[opened.task.spec().clone()], 0, &candle_core::Device::Cpu).unwrap();
    let predicted = |changed: bool| {
        let row = rows().swap_remove(4);
        let get = |field: &str| {
            let mut value = row.get(field).clone();
            if let (true, Value::Series(steps)) = (changed, &mut value) {
                steps[2] = if field == "state" {
                    number(9.0)
                } else {
                    number(1.0 - steps[2].clone().into_numbers().unwrap()[0] as f64)
                };
            }
            Ok(value)
        };
        let sample = opened.task.sample(&get, 0..3, smalti::sample::Purpose::Evaluate(0), 0).unwrap();
        let batch = smalti::data::collate(model.layouts(), &[(0, sample)]).unwrap();
        model.outputs(&batch).unwrap().remove(0).to_vec2::<f32>().unwrap()
    };
    let (before, after) = (predicted(false), predicted(true));
    assert_eq!(before[..2], after[..2], "the goal and the class token leak nothing of step 2");
    assert_ne!(before[2], after[2]);
}

#[test]
fn drop_leaves_a_part_out_of_its_share_of_training_samples_alone() {
    let (opened, _) = open(&PARTS.replace("patch_size = 2", "patch_size = 2\ndrop = 0.5")).unwrap();
    let dropped =
        |seed| !kinds(&opened, &opened.train.sample(0, seed).unwrap()).contains(&"front.patch".to_string());
    let n = (0..200).filter(|&seed| dropped(Some(seed))).count();
    assert!((60..140).contains(&n), "{n} of 200");
    assert!(!dropped(None));
}

#[test]
fn a_part_without_positions_has_no_position_embeddings() {
    let parts = |positions: bool| {
        format!(
            "[inputs.goal]\nmodality = \"text\"\npositions = {positions}\n[inputs.front]\nmodality = \"image\"\n\
             patch_size = 2\n[outputs.label]\nhead = \"classify\"\n"
        )
    };
    for positions in [true, false] {
        let (opened, config) = open(&parts(positions)).unwrap();
        let model =
            Model::new(&config.model, &[opened.task.spec().clone()], 0, &candle_core::Device::Cpu).unwrap();
        let names: Vec<&str> = model.params().iter().map(|(name, _)| name).collect();
        assert_eq!(names.contains(&"embed.goal.character.index"), positions, "{names:?}");
        assert!(names.contains(&"embed.front.patch.row"), "{names:?}");
        let sample = opened.train.sample(0, Some(1)).unwrap();
        let batch = smalti::data::collate(model.layouts(), &[(0, sample)]).unwrap();
        assert!(model.outputs(&batch).is_ok());
    }
}

#[test]
fn a_shared_vocabulary_is_one_table() {
    let shared = "[inputs.goal]\nmodality = \"text\"\ncontext = 16\n[outputs.label]\nhead = \"generate\"\nshare = \"goal\"\n";
    let (opened, config) = open(shared).unwrap();
    let spec = opened.task.spec();
    assert_eq!(spec.shares, [("label.character".to_string(), "goal.character".to_string())]);
    let model = Model::new(&config.model, std::slice::from_ref(spec), 0, &candle_core::Device::Cpu).unwrap();
    let tables: Vec<&str> =
        model.params().iter().map(|(name, _)| name).filter(|name| name.ends_with(".table")).collect();
    assert_eq!(tables, ["embed.goal.character.table"]);
}

#[test]
fn a_required_field_that_is_missing_is_a_corrupt_sample() {
    let parts = PARTS.replace("modality = \"numbers\"", "modality = \"numbers\"\nrequired = true");
    let (opened, _) = open(&parts).unwrap();
    let samples = (0..opened.train.len()).map(|i| opened.train.sample(i, None));
    let errors: Vec<String> = samples.filter_map(Result::err).map(|e| e.to_string()).collect();
    assert!(!errors.is_empty());
    assert!(
        errors[0].contains("rows row")
            && errors[0].contains("inputs.speed")
            && errors[0].contains("required"),
        "{}",
        errors[0]
    );
}
