//! Checks of the settings of a model.

use super::mlp::{MOST_EXPERTS, MOST_OF_ALL};
use super::{
    AttentionConfig, ExpertLayers, MemoryConfig, MlpConfig, ModelConfig, NormKind, NormPlacement, Positions,
    RelativePositions, Rotary, Sublayers,
};

/// An invalid setting.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("model.{setting}: {problem}")]
pub struct ConfigError {
    /// The setting.
    pub setting: &'static str,
    /// The expected and the actual value.
    pub problem: String,
}

/// Most blocks of a transformer.
pub const MOST_LAYERS: usize = 10_000;

impl ModelConfig {
    /// The fewest and the most of each setting that sizes the model, so that no product of two of them overflows.
    fn sizes(&self) -> [(&'static str, usize, std::ops::RangeInclusive<usize>); 8] {
        let Self { d_model, n_layers, n_encoder_layers, attention, mlp, .. } = self;
        [
            ("d_model", *d_model, 1..=1 << 20),
            ("n_layers", *n_layers, 1..=MOST_LAYERS),
            ("n_encoder_layers", *n_encoder_layers, 0..=MOST_LAYERS),
            ("attention.n_heads", attention.n_heads, 0..=1 << 20),
            ("attention.n_kv_heads", attention.n_kv_heads, 0..=1 << 20),
            ("attention.d_head", attention.d_head, 0..=1 << 20),
            ("mlp.d_ff", mlp.d_ff, 0..=1 << 24),
            ("mlp.experts", mlp.experts, 0..=MOST_EXPERTS),
        ]
    }

    /// Checks that the settings are valid.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |setting, problem| Err(ConfigError { setting, problem });
        for (setting, found, range) in self.sizes() {
            if !range.contains(&found) {
                let (least, most) = range.into_inner();
                return refuse(setting, format!("expected {least} to {most}; found {found}"));
            }
        }
        let factors = [
            ("attention.scale", self.attention.scale),
            ("layer_scale", self.layer_scale),
            ("embedding.scale", self.embedding.scale),
            ("head.scale", self.head.scale),
        ];
        for (setting, factor) in factors {
            if let Some(found) = factor.filter(|factor| !factor.is_finite() || *factor == 0.0) {
                return refuse(setting, format!("expected a number other than 0; found {found}"));
            }
        }
        let caps = [("attention.soft_cap", self.attention.soft_cap), ("head.soft_cap", self.head.soft_cap)];
        for (setting, cap) in caps {
            if let Some(found) = cap.filter(|cap| !(*cap > 0.0 && cap.is_finite())) {
                return refuse(setting, format!("expected a positive number; found {found}"));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", format!("expected 0 or more and less than 1; found {}", self.dropout));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps.is_finite()) {
            return refuse("norm_eps", format!("expected a positive number; found {}", self.norm_eps));
        }
        if self.embedding.positions == Positions::Sinusoidal && !self.d_model.is_multiple_of(2) {
            let problem = format!("expected an even d_model for sinusoidal; found {}", self.d_model);
            return refuse("embedding.positions", problem);
        }
        self.validate_sublayers()?;
        self.validate_memory()?;
        self.validate_attention()?;
        self.validate_experts()?;
        self.validate_mixers()?;
        self.validate_encoder()
    }

    fn validate_sublayers(&self) -> Result<(), ConfigError> {
        let refuse = |setting, problem: &str| Err(ConfigError { setting, problem: problem.into() });
        let parallel = matches!(self.sublayers, Sublayers::Parallel | Sublayers::OneNorm);
        if parallel && self.norm_placement != NormPlacement::Pre {
            let problem = "expected sequential, or norm_placement = pre; found sublayers in parallel";
            return refuse("sublayers", problem);
        }
        if !self.first_norm && (parallel || self.norm_placement != NormPlacement::Pre) {
            let problem = "expected true, or norm_placement = pre and sublayers = sequential or attention_only; found false";
            return refuse("first_norm", problem);
        }
        if self.sublayers == Sublayers::AttentionOnly && self.mlp != MlpConfig::default() {
            let problem =
                "has no effect with model.sublayers = attention_only, which has no MLP; leave it out";
            return refuse("mlp", problem);
        }
        let normalized = [
            ("norm_placement", self.norm_placement != NormPlacement::Pre),
            ("attention.qk_norm", self.attention.qk_norm),
            ("embedding.norm", self.embedding.norm),
            ("head.norm", self.head.norm),
        ];
        match normalized.into_iter().find(|(_, set)| *set && self.norm == NormKind::None) {
            Some((setting, _)) => refuse(setting, "has no effect with model.norm = none; leave it out"),
            None => Ok(()),
        }
    }

    fn validate_memory(&self) -> Result<(), ConfigError> {
        let Some(MemoryConfig { layer, size, top_k }) = self.memory else { return Ok(()) };
        let counts = [
            ("memory.layer", layer, 0..=self.n_layers - 1),
            ("memory.size", size, 1..=1 << 20),
            ("memory.top_k", top_k, 1..=size.min(1 << 12)),
        ];
        match counts.into_iter().find(|(_, found, range)| !range.contains(found)) {
            None => Ok(()),
            Some((setting, found, range)) => {
                let problem = format!("expected {} to {}; found {found}", range.start(), range.end());
                Err(ConfigError { setting, problem })
            }
        }
    }

    fn validate_attention(&self) -> Result<(), ConfigError> {
        let refuse = |setting, problem| Err(ConfigError { setting, problem });
        let AttentionConfig {
            n_heads,
            n_kv_heads,
            d_head,
            rotary,
            relative,
            alibi,
            ref rules,
            ref layer_rotary,
            ..
        } = self.attention;
        if n_heads == 0 || (d_head == 0 && !self.d_model.is_multiple_of(n_heads)) {
            let problem = format!("expected a divisor of d_model {}; found {n_heads}", self.d_model);
            return refuse("attention.n_heads", problem);
        }
        if n_kv_heads > 0 && !n_heads.is_multiple_of(n_kv_heads) {
            let problem = format!("expected a divisor of n_heads {n_heads}; found {n_kv_heads}");
            return refuse("attention.n_kv_heads", problem);
        }
        if let Some(RelativePositions { buckets, max_distance, .. }) = relative
            && (buckets < 4
                || buckets > usize::from(u16::MAX)
                || max_distance <= buckets / 2
                || max_distance > 1 << 20)
        {
            let problem = format!(
                "expected 4 to 65535 buckets and a max_distance above half of them, at most 1048576; \
                 found {buckets} and {max_distance}"
            );
            return refuse("attention.relative", problem);
        }
        if alibi && relative.is_some() {
            let problem =
                "expected false with attention.relative, whose biases depend on the distance too; found true";
            return refuse("attention.alibi", problem.into());
        }
        rotary
            .iter()
            .chain(layer_rotary.iter().map(|own| &own.rotary))
            .try_for_each(|rotary| self.validate_rotary(rotary))?;
        let most = self.n_layers.max(self.n_encoder_layers);
        if let Some(layer) = rules.iter().flat_map(|rule| &rule.layers).find(|&&layer| layer >= most) {
            return refuse("attention.rules", format!("expected layers below {most}; found {layer}"));
        }
        if let Some(layer) = layer_rotary.iter().flat_map(|own| &own.layers).find(|&&layer| layer >= most) {
            return refuse("attention.layer_rotary", format!("expected layers below {most}; found {layer}"));
        }
        Ok(())
    }

    fn validate_experts(&self) -> Result<(), ConfigError> {
        let refuse = |setting, problem| Err(ConfigError { setting, problem });
        let MlpConfig { experts, experts_per_token, load_balance, capacity_factor, expert_layers, .. } =
            self.mlp;
        if experts == 0 {
            let unused = [
                ("mlp.experts_per_token", experts_per_token != 1),
                ("mlp.capacity_factor", capacity_factor.is_some()),
                ("mlp.expert_layers", expert_layers != ExpertLayers::All),
            ];
            return match unused.into_iter().find(|(_, is_set)| *is_set) {
                Some((setting, _)) => {
                    refuse(setting, "expected mlp.experts of 2 or more with it; found 0".into())
                }
                None => Ok(()),
            };
        }
        if experts == 1 {
            return refuse("mlp.experts", "expected 0 for one MLP, or 2 or more; found 1".into());
        }
        if experts * (self.n_layers + self.n_encoder_layers) > MOST_OF_ALL {
            let problem =
                format!("expected at most {MOST_OF_ALL} experts in all blocks; found {experts} in each");
            return refuse("mlp.experts", problem);
        }
        if !(1..=experts).contains(&experts_per_token) {
            let problem = format!("expected 1 to mlp.experts {experts}; found {experts_per_token}");
            return refuse("mlp.experts_per_token", problem);
        }
        if !(load_balance >= 0.0 && load_balance.is_finite()) {
            return refuse("mlp.load_balance", format!("expected 0 or more; found {load_balance}"));
        }
        if let Some(found) = capacity_factor.filter(|factor| !(*factor > 0.0 && factor.is_finite())) {
            return refuse("mlp.capacity_factor", format!("expected a positive number; found {found}"));
        }
        let most = self.n_layers.max(self.n_encoder_layers);
        if !(0..most).any(|layer| self.has_experts(layer)) {
            let problem = format!("expected all, or 2 or more blocks; found every_other of {most}");
            return refuse("mlp.expert_layers", problem);
        }
        Ok(())
    }

    fn validate_encoder(&self) -> Result<(), ConfigError> {
        let refuse = |setting, problem| Err(ConfigError { setting, problem });
        if !self.encoder.is_default() && self.n_encoder_layers == 0 {
            let problem = "expected n_encoder_layers of 1 or more with these settings; found 0".into();
            return refuse("encoder", problem);
        }
        let encoder = self.of_encoder();
        let AttentionConfig { n_heads, n_kv_heads, d_head, .. } = encoder.attention;
        if d_head == 0 && !self.d_model.is_multiple_of(n_heads) {
            let problem = format!("expected a divisor of d_model {}; found {n_heads}", self.d_model);
            return refuse("encoder.n_heads", problem);
        }
        if n_kv_heads > 0 && !n_heads.is_multiple_of(n_kv_heads) {
            let problem =
                format!("expected a multiple of attention.n_kv_heads {n_kv_heads}; found {n_heads}");
            return refuse("encoder.n_heads", problem);
        }
        let rotates = self.attention.rotary.is_some() || !self.attention.layer_rotary.is_empty();
        if rotates && encoder.d_head() != self.d_head() {
            let (width, found) = (self.d_head(), encoder.d_head());
            let problem = format!(
                "expected heads of one width with rotary positions, {width}; found {found}: set attention.d_head"
            );
            return refuse("encoder.n_heads", problem);
        }
        Ok(())
    }

    fn validate_rotary(&self, rotary: &Rotary) -> Result<(), ConfigError> {
        let refuse = |setting, problem| Err(ConfigError { setting, problem });
        let (Rotary { width, .. }, d_head) = (*rotary, self.d_head());
        if let Err((name, problem)) = rotary.check() {
            let setting = match name {
                "base" => "attention.rotary.base",
                _ => "attention.rotary.scaling",
            };
            let problem = if name == "base" { problem } else { format!("{name}: {problem}") };
            return refuse(setting, problem);
        }
        if width == 0 && !d_head.is_multiple_of(2) {
            return refuse("attention.rotary", format!("expected heads of an even width; found {d_head}"));
        }
        if width > d_head || !width.is_multiple_of(2) {
            let problem = format!("expected an even number of at most {d_head} features; found {width}");
            return refuse("attention.rotary.width", problem);
        }
        Ok(())
    }
}
