use super::*;

fn episode() -> Episode {
    Episode {
        observations: vec![0.0, 0.1, 1.0, 1.1, 2.0, 2.1],
        state_dim: 2,
        actions: Actions::Continuous { values: vec![-1.0, 0.0, 1.0], dim: 1 },
        rewards: vec![1.0, 2.0, 4.0],
        state_names: vec![],
        images: BTreeMap::new(),
        end: End::Terminated,
    }
}

#[test]
fn a_return_is_the_sum_of_rewards() {
    assert_eq!(episode().total_return(), 7.0);
    // In single precision a sum stops growing at 2^24.
    let long = Episode { rewards: vec![1.0; (1 << 24) + 4], ..episode() };
    assert_eq!(long.total_return(), ((1 << 24) + 4) as f32);
}

#[test]
fn validate_names_the_invalid_array() {
    let error = |episode: Episode| episode.validate().unwrap_err().to_string();
    assert_eq!(episode().validate(), Ok(()));
    assert_eq!(
        error(Episode { state_dim: 4, ..episode() }),
        "observations must have one or more numbers for each of the 3 rewards; found 6 in rows of 4"
    );
    assert_eq!(
        error(Episode { actions: Actions::Discrete(vec![1]), ..episode() }),
        "actions must have one or more numbers for each of the 3 rewards; found 1 in rows of 1"
    );
    assert_eq!(
        error(Episode { rewards: vec![1.0, f32::NAN, 0.0], ..episode() }),
        "rewards at step 1 is NaN; it must be finite"
    );
    assert_eq!(
        error(Episode { actions: Actions::Discrete(vec![]), rewards: vec![], ..episode() }),
        "actions must have at least one step; found none"
    );
    assert_eq!(Episode { rewards: vec![], ..episode() }.validate(), Ok(()), "demonstrations have no rewards");
    let nan = Actions::Continuous { values: vec![0.0, 0.0, f32::INFINITY], dim: 1 };
    assert_eq!(
        error(Episode { actions: nan.clone(), ..episode() }),
        "actions at step 2 is inf; it must be finite"
    );
    let parts = |parts: &[(&str, Actions)]| {
        Actions::Parts(parts.iter().map(|(name, part)| (name.to_string(), part.clone())).collect())
    };
    let grip = Actions::Discrete(vec![0, 1, 0]);
    let both = parts(&[("arm", nan), ("grip", grip.clone())]);
    assert_eq!(
        error(Episode { actions: both, ..episode() }),
        "actions.arm at step 2 is inf; it must be finite"
    );
    let nested = parts(&[("hand", parts(&[("grip", grip)]))]);
    assert_eq!(
        error(Episode { actions: nested, ..episode() }),
        "actions must have discrete or continuous parts; found \
         parts (hand: parts (grip: discrete numbers, 1 per step))"
    );
    assert_eq!(
        error(Episode { state_names: vec!["x".into()], ..episode() }),
        "state_names must have a name for each of 2 numbers, or none; found 1"
    );
}

#[test]
fn parts_are_sliced_together() {
    let arm = Actions::Continuous { values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dim: 2 };
    let both = [("arm".to_string(), arm), ("grip".to_string(), Actions::Discrete(vec![7, 8, 9]))];
    let cut = Actions::Parts(both.into()).slice(1..9);
    let arm = Actions::Continuous { values: vec![3.0, 4.0, 5.0, 6.0], dim: 2 };
    assert_eq!(cut.parts(), [("arm", &arm), ("grip", &Actions::Discrete(vec![8, 9]))]);
    assert_eq!(cut.len(), 2);
}

#[test]
fn episodes_must_be_compatible() {
    let discrete = Episode { actions: Actions::Discrete(vec![0, 1, 0]), ..episode() };
    assert_eq!(
        check_compatible(&[&episode(), &discrete]).unwrap_err().to_string(),
        "episode 1: actions must have continuous numbers, 1 per step, as in episode 0; found discrete numbers, 1 per step"
    );
    let named = Episode { state_names: vec!["x".into(), "y".into()], ..episode() };
    assert_eq!(
        check_compatible(&[&episode(), &named]).unwrap_err().to_string(),
        "episode 1: observations must have numbers without names, as in episode 0; found the numbers x, y"
    );
    let narrow = Episode { observations: vec![0.0; 3], state_dim: 1, ..episode() };
    assert_eq!(
        check_compatible(&[&episode(), &narrow]).unwrap_err().to_string(),
        "episode 1: observations must have 2 numbers per step, as in episode 0; found 1"
    );
    assert_eq!(check_compatible(&[]), Err(TrajectoryError::Empty));
}
