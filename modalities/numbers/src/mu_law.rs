//! Discretisation of real numbers: μ-law companding and uniform bins.

use serde::{Deserialize, Serialize};

/// Discretisation as in Gato (Reed et al. 2022, section 2.1 and appendix B): μ-law companding, clipping to -1..=1,
/// uniform bins.
///
/// Companding makes bins proportional to a number's size. A number `x` with `|x| ≤ m` is decoded from its bin's centre
/// as `x'` with
///
/// `|x' - x| ≤ (|x| + 1/μ) · ((1 + m·μ)^(1/bins) - 1)`
///
/// which is 1 % of `|x| + 0.01` with the default settings; a larger number is decoded as about ±`m`. Without
/// companding, the error is at most `1 / bins`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MuLaw {
    /// The compression of large numbers; 100 in the paper.
    pub mu: f32,
    /// The largest magnitude that is not clipped; 256 in the paper.
    pub m: f32,
    /// The number of bins over -1..=1, and of ids; 1024 in the paper.
    pub bins: usize,
}

impl Default for MuLaw {
    fn default() -> Self {
        Self { mu: 100.0, m: 256.0, bins: 1024 }
    }
}

/// With more bins, single precision near ±1 is coarser than a bin.
const MAX_BINS: usize = 1 << 16;

impl MuLaw {
    /// `sign(x) · ln(1 + μ|x|) / ln(1 + μ·m)`, clipped to -1..=1.
    pub fn compand(&self, x: f32) -> f32 {
        let y = libm::log1p(f64::from(self.mu) * f64::from(x).abs()) / self.log_range();
        y.min(1.0).copysign(f64::from(x)) as f32
    }

    /// The inverse of [`compand`](Self::compand) on -1..=1.
    pub fn expand(&self, y: f32) -> f32 {
        let x = libm::expm1(f64::from(y).abs() * self.log_range()) / f64::from(self.mu);
        x.copysign(f64::from(y)) as f32
    }

    /// The bin of `y`; numbers outside -1..=1 are in the first or the last bin.
    pub fn bin(&self, y: f32) -> u32 {
        bin(f64::from(y), self.bins)
    }

    /// The centre of a bin, in -1..=1.
    pub fn centre(&self, bin: u32) -> f32 {
        centre(bin, self.bins) as f32
    }

    fn log_range(&self) -> f64 {
        libm::log1p(f64::from(self.mu) * f64::from(self.m))
    }

    /// Check the settings.
    ///
    /// # Errors
    /// The setting that is out of its range, as a message that starts with the setting's name.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in [("mu", self.mu), ("m", self.m)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(format!("{name} is {value}; it must be positive and finite"));
            }
        }
        check_bins(self.bins)
    }
}

/// The bin of `y`, of `bins` over -1..=1; numbers outside are in the first or the last bin.
pub(crate) fn bin(y: f64, bins: usize) -> u32 {
    let place = (y + 1.0) / 2.0 * bins as f64;
    (place.max(0.0) as u32).min(bins.saturating_sub(1) as u32)
}

/// The centre of a bin, of `bins` over -1..=1.
pub(crate) fn centre(bin: u32, bins: usize) -> f64 {
    (2.0 * f64::from(bin) + 1.0) / bins as f64 - 1.0
}

pub(crate) fn check_bins(bins: usize) -> Result<(), String> {
    match (2..=MAX_BINS).contains(&bins) {
        true => Ok(()),
        false => Err(format!("bins is {bins}; it must be in 2..={MAX_BINS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn companding_matches_the_paper() {
        // ln(101) / ln(25601) and ln(2001) / ln(25601).
        let law = MuLaw::default();
        assert!((law.compand(1.0) - 0.454_674_35).abs() < 1e-7);
        assert!((law.compand(-20.0) + 0.748_878_1).abs() < 1e-7);
        assert_eq!((law.compand(0.0), law.compand(256.0), law.compand(-1e9)), (0.0, 1.0, -1.0));
    }

    #[test]
    fn bins_cover_the_range_evenly() {
        let law = MuLaw { bins: 4, ..MuLaw::default() };
        let bins: Vec<u32> = [-9.0, -1.0, -0.51, -0.5, 0.0, 0.49, 0.5, 1.0, 9.0].map(|y| law.bin(y)).to_vec();
        assert_eq!(bins, [0, 0, 0, 1, 2, 2, 3, 3, 3]);
        assert_eq!([0, 1, 2, 3].map(|bin| law.centre(bin)), [-0.75, -0.25, 0.25, 0.75]);
    }

    #[test]
    fn settings_are_checked() {
        let invalid = MuLaw { bins: 1, ..MuLaw::default() };
        assert_eq!(invalid.check().unwrap_err(), "bins is 1; it must be in 2..=65536");
        let invalid = MuLaw { mu: f32::NAN, ..MuLaw::default() };
        assert_eq!(invalid.check().unwrap_err(), "mu is NaN; it must be positive and finite");
    }

    proptest! {
        #[test]
        fn round_trip_keeps_the_documented_bound(
            x in -256.0_f32..256.0,
            small in -1.0_f32..1.0,
            mu in 1.0_f32..1000.0,
            bins in 2_usize..=65536,
        ) {
            let law = MuLaw { mu, m: 256.0, bins };
            for x in [x, small, small * 1e-3] {
                let back = law.expand(law.centre(law.bin(law.compand(x))));
                let ratio = (1.0 + 256.0 * f64::from(mu)).powf(1.0 / bins as f64) - 1.0;
                let scale = f64::from(x).abs() + 1.0 / f64::from(mu);
                let error = (f64::from(back) - f64::from(x)).abs();
                // y is kept in single precision: 2^-24 of it is ln(1 + μm) · 2^-24 of x.
                prop_assert!(error <= scale * (ratio + 2e-6), "{x} decoded as {back}");
            }
        }

        #[test]
        fn a_centre_lies_in_its_bin(bins in 2_usize..=65536, at in 0.0_f64..1.0) {
            let law = MuLaw { bins, ..MuLaw::default() };
            let bin = (at * bins as f64) as u32;
            prop_assert_eq!(law.bin(law.centre(bin)), bin);
            prop_assert_eq!(law.bin(law.compand(law.expand(law.centre(bin)))), bin);
        }
    }
}
