//! The settings of mixers.

use super::{ConfigError, ModelConfig};
use crate::ops::FeatureMap;
use serde::{Deserialize, Serialize};

/// A mixer of tokens in place of softmax attention: `[[model.mixers]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MixerConfig {
    /// Attention without a softmax, in linear time (Katharopoulos et al. 2020).
    Linear(LinearAttentionConfig),
    /// A diagonal state space (S4D, Gu et al. 2022).
    StateSpace(StateSpaceConfig),
}

/// Linear attention, with the heads, biases, norms and rotary positions of `[model.attention]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinearAttentionConfig {
    /// The features of queries and keys.
    pub feature_map: FeatureMap,
    /// The layers of its transformer, counted from 0; all if left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<usize>,
}

/// A diagonal state space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateSpaceConfig {
    /// Number of states of each feature; complex ones come in conjugate pairs, of which one is computed.
    pub d_state: usize,
    /// Whether states are complex, so that they also rotate.
    pub complex: bool,
    /// Whether a scan from the last token to the first is added, with an output map of its own.
    pub bidirectional: bool,
    /// Initial step Δ of the first feature; those of the others are between, evenly in the logarithm.
    pub min_step: f64,
    /// Initial step Δ of the last feature.
    pub max_step: f64,
    /// The layers of its transformer, counted from 0; all if left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<usize>,
}

impl Default for StateSpaceConfig {
    fn default() -> Self {
        Self {
            d_state: 64,
            complex: true,
            bidirectional: false,
            min_step: 1e-3,
            max_step: 0.1,
            layers: vec![],
        }
    }
}

impl MixerConfig {
    /// Its layers; all if there are none.
    pub fn layers(&self) -> &[usize] {
        match self {
            Self::Linear(settings) => &settings.layers,
            Self::StateSpace(settings) => &settings.layers,
        }
    }

    /// Its name in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Linear(_) => "linear attention",
            Self::StateSpace(_) => "state space",
        }
    }

    fn is_of(&self, layer: usize) -> bool {
        self.layers().is_empty() || self.layers().contains(&layer)
    }
}

impl ModelConfig {
    /// The mixer of block number `layer`; `None` for softmax attention.
    pub fn mixer(&self, layer: usize) -> Option<&MixerConfig> {
        self.mixers.iter().find(|mixer| mixer.is_of(layer))
    }

    pub(super) fn validate_mixers(&self) -> Result<(), ConfigError> {
        let refuse = |setting, problem| Err(ConfigError { setting, problem });
        let most = self.n_layers.max(self.n_encoder_layers);
        if let Some(layer) = self.mixers.iter().flat_map(MixerConfig::layers).find(|&&layer| layer >= most) {
            return refuse("mixers", format!("expected layers below {most}; found {layer}"));
        }
        for mixer in &self.mixers {
            if let MixerConfig::StateSpace(settings) = mixer {
                settings.validate()?;
            }
        }
        if self.mixers.is_empty() {
            return Ok(());
        }
        if let Some(layer) =
            (0..most).find(|&l| self.mixers.iter().filter(|mixer| mixer.is_of(l)).count() > 1)
        {
            return refuse(
                "mixers",
                format!("expected at most one mixer for each layer; found two for {layer}"),
            );
        }
        self.validate_unused()
    }

    /// Fails if a setting of attention has no effect because no layer uses it.
    fn validate_unused(&self) -> Result<(), ConfigError> {
        let stacks = || [self.n_layers, self.n_encoder_layers].into_iter().filter(|n| *n > 0);
        // Cross-attention has a softmax.
        let in_stack = |n: usize, uses: fn(Option<&MixerConfig>) -> bool| (0..n).any(|l| uses(self.mixer(l)));
        let in_any = |uses: fn(Option<&MixerConfig>) -> bool| {
            stacks().count() > 1 || stacks().any(|n| in_stack(n, uses))
        };
        let softmax = in_any(|mixer| mixer.is_none());
        let attends = in_any(|mixer| !matches!(mixer, Some(MixerConfig::StateSpace(_))));
        let scales = in_any(|mixer| match mixer {
            None => true,
            Some(MixerConfig::Linear(settings)) => settings.feature_map == FeatureMap::Identity,
            Some(MixerConfig::StateSpace(_)) => false,
        });
        let attention = &self.attention;
        let rotates = attention.rotary.is_some() || !attention.layer_rotary.is_empty();
        let biased = stacks().all(|n| in_stack(n, |mixer| mixer.is_none()));
        let settings = [
            ("attention.relative", attention.relative.is_some(), biased),
            ("attention.alibi", attention.alibi, biased),
            (
                "memory",
                self.memory.is_some(),
                self.memory.is_some_and(|memory| self.mixer(memory.layer).is_none()),
            ),
            ("attention.soft_cap", attention.soft_cap.is_some(), softmax),
            ("attention.scale", attention.scale.is_some(), scales),
            ("attention.scale_by_layer", attention.scale_by_layer, scales),
            ("attention.rotary", rotates, attends),
            ("attention.qk_norm", attention.qk_norm, attends),
        ];
        match settings.into_iter().find(|(_, set, used)| *set && !used) {
            Some((setting, ..)) => {
                let problem =
                    "has no effect with these model.mixers: leave it out, or leave a layer to attention";
                Err(ConfigError { setting, problem: problem.into() })
            }
            None => Ok(()),
        }
    }
}

impl StateSpaceConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        /// Most states of a feature.
        const MOST_STATES: usize = 1 << 16;
        let refuse = |setting, problem| Err(ConfigError { setting, problem });
        let (d_state, even) = (self.d_state, self.d_state.is_multiple_of(2));
        if !(1..=MOST_STATES).contains(&d_state) || (self.complex && !even) {
            let problem = format!(
                "expected 1 to {MOST_STATES} states, an even number if they are complex; found {d_state}"
            );
            return refuse("mixers.d_state", problem);
        }
        let (min, max) = (self.min_step, self.max_step);
        if !(min > 0.0 && min <= max && max.is_finite()) {
            let problem = format!("expected a positive number up to max_step; found {min} and {max}");
            return refuse("mixers.min_step", problem);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mixers: &str) -> ModelConfig {
        toml::from_str(&format!("n_layers = 3\n{mixers}")).unwrap()
    }

    fn refused(mixers: &str) -> String {
        of(mixers).validate().unwrap_err().to_string()
    }

    #[test]
    fn mixers_alternate_by_layer_and_the_others_are_attention() {
        let config = of("[[mixers]]\nkind = \"linear\"\nfeature_map = \"identity\"\nlayers = [0]\n\
                         [[mixers]]\nkind = \"state_space\"\nd_state = 8\nlayers = [2]\n");
        assert!(config.validate().is_ok());
        let names = |config: &ModelConfig| [0, 1, 2].map(|layer| config.mixer(layer).map(MixerConfig::name));
        assert_eq!(names(&config), [Some("linear attention"), None, Some("state space")]);
        assert_eq!(names(&of("[[mixers]]\nkind = \"linear\"\n")), [Some("linear attention"); 3]);
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<ModelConfig>(&written).unwrap(), config);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        assert_eq!(
            refused("[[mixers]]\nkind = \"linear\"\nlayers = [3]\n"),
            "model.mixers: expected layers below 3; found 3"
        );
        let two =
            refused("[[mixers]]\nkind = \"linear\"\n[[mixers]]\nkind = \"state_space\"\nlayers = [1]\n");
        assert_eq!(two, "model.mixers: expected at most one mixer for each layer; found two for 1");
        for (settings, found) in [
            (
                "d_state = 0",
                "mixers.d_state: expected 1 to 65536 states, an even number if they are complex; found 0",
            ),
            ("d_state = 7", "found 7"),
            ("min_step = 0.0", "mixers.min_step: expected a positive number up to max_step; found 0 and 0.1"),
            ("min_step = nan", "found NaN and 0.1"),
            ("max_step = inf", "found 0.001 and inf"),
        ] {
            let message = refused(&format!("[[mixers]]\nkind = \"state_space\"\n{settings}\n"));
            assert!(message.contains(found), "{settings}: {message}");
        }
        assert!(of("[[mixers]]\nkind = \"state_space\"\nd_state = 7\ncomplex = false\n").validate().is_ok());
        let unknown =
            toml::from_str::<ModelConfig>("[[mixers]]\nkind = \"linear\"\nd_state = 8\n").unwrap_err();
        assert!(unknown.to_string().contains("unknown field `d_state`"), "{unknown}");
    }

    #[test]
    fn a_setting_of_attention_without_a_layer_that_uses_it_is_named() {
        let (linear, space) = ("[[mixers]]\nkind = \"linear\"\n", "[[mixers]]\nkind = \"state_space\"\n");
        for (setting, mixer) in [
            ("relative = {}", linear),
            ("soft_cap = 1.0", linear),
            ("scale = 0.5", linear),
            ("rotary = {}", space),
            ("qk_norm = true", space),
        ] {
            let name = setting.split(' ').next().unwrap_or_default();
            let message = refused(&format!("attention.{setting}\n{mixer}"));
            assert!(message.starts_with(&format!("model.attention.{name}: has no effect")), "{message}");
            assert!(
                of(&format!("attention.{setting}\n{mixer}layers = [0, 2]\n")).validate().is_ok(),
                "{setting}"
            );
        }
        let identity = format!("attention.scale = 0.5\n{linear}feature_map = \"identity\"\n");
        assert!(of(&identity).validate().is_ok());
        assert!(of(&format!("attention.rotary = {{}}\n{linear}")).validate().is_ok());
    }
}
