//! Accuracy and alias rejection of resampling.

use smalti_audio::Waveform;
use std::f64::consts::TAU;

fn sine(hz: f64, sampling_rate: u32, n: usize) -> Waveform {
    let sample = |i: usize| (0.5 * (TAU * hz * i as f64 / f64::from(sampling_rate)).sin()) as f32;
    Waveform { sampling_rate, samples: (0..n).map(sample).collect() }
}

/// The signal-to-noise ratio of `found` in dB, away from the ends, where the sine is cut off.
fn signal_to_noise(found: &Waveform, signal: &Waveform) -> f64 {
    assert_eq!(found.samples.len(), signal.samples.len());
    let middle = signal.samples.len() / 4..signal.samples.len() * 3 / 4;
    let (mut power, mut error) = (0.0, 0.0);
    for i in middle {
        power += f64::from(signal.samples[i]).powi(2);
        error += f64::from(found.samples[i] - signal.samples[i]).powi(2);
    }
    10.0 * (power / error).log10()
}

#[test]
fn sines_stay_sines_without_delay() {
    // (from, to, Hz): up, down, and with ratios of large numbers.
    let cases = [
        (8_000, 16_000, 440.0),
        (8_000, 16_000, 3_880.0),
        (44_100, 16_000, 440.0),
        (44_100, 16_000, 7_600.0),
        (48_000, 16_000, 1_000.0),
        (22_050, 16_000, 5_000.0),
        (16_000, 22_050, 7_000.0),
        (16_000, 44_100, 7_500.0),
        (16_000, 48_000, 50.0),
        (48_000, 44_100, 20_000.0),
        (32_000, 16_000, 7_700.0),
        (96_000, 16_000, 440.0),
        (384_000, 8_000, 3_000.0),
        (16_000, 8_000, 3_500.0),
        (11_025, 16_000, 100.0),
        (1_000, 16_000, 300.0),
        (192_000, 16_000, 6_000.0),
        (15_999, 16_000, 6_000.0),
    ];
    for (from, to, hz) in cases {
        let n = from as usize * 2;
        let snr = signal_to_noise(&sine(hz, from, n).resample(to).unwrap(), &sine(hz, to, to as usize * 2));
        println!("{from} to {to} Hz, a sine of {hz} Hz: {snr:.0} dB");
        assert!(snr > 100.0, "{from} to {to} Hz, a sine of {hz} Hz: {snr} dB");
    }
}

#[test]
fn frequencies_above_the_lower_nyquist_are_removed() {
    for (from, to, hz) in [(44_100, 16_000, 8_400.0), (16_000, 8_000, 4_200.0), (48_000, 16_000, 15_000.0)] {
        let out = sine(hz, from, from as usize * 2).resample(to).unwrap();
        let middle = &out.samples[out.samples.len() / 4..out.samples.len() * 3 / 4];
        let loudest = middle.iter().fold(0.0_f32, |most, s| most.max(s.abs()));
        assert!(loudest < 1e-5, "{hz} Hz at {to} Hz leaves {loudest}");
    }
}

#[test]
fn lengths_are_rounded_and_a_click_stays_in_place() {
    for (from, to) in [(8_000, 16_000), (44_100, 16_000), (16_000, 44_100), (48_000, 8_000), (9_973, 16_000)]
    {
        for n in [1_usize, 2, 3, 100, 1023, 1024, 1025, 4_801, 20_000] {
            let mut click = Waveform { sampling_rate: from, samples: vec![0.0; n] };
            click.samples[n / 2] = 1.0;
            let out = click.resample(to).unwrap();
            let exact = n as f64 * f64::from(to) / f64::from(from);
            assert_eq!(out.samples.len(), (exact.round() as usize).max(1), "{n} samples, {from} to {to} Hz");
            assert_eq!(out.sampling_rate, to);
            if n >= 100 {
                let peak = (0..out.samples.len())
                    .max_by(|&a, &b| out.samples[a].total_cmp(&out.samples[b]))
                    .unwrap();
                let expected = (n / 2) as f64 * f64::from(to) / f64::from(from);
                assert!(
                    (peak as f64 - expected).abs() <= 0.5 + 1e-9,
                    "{n}, {from} to {to}: {peak}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn the_same_rate_changes_nothing() {
    let clip = sine(440.0, 16_000, 1000);
    assert_eq!(clip.resample(16_000).unwrap(), clip);
}

#[test]
fn invalid_rates_are_errors() {
    let error = sine(1.0, 1, 10).resample(16_000).unwrap_err();
    assert_eq!(error.to_string(), "the sampling rate is 1 Hz; 1000 to 384000 Hz are accepted");
    assert!(sine(1.0, 8_000, 10).resample(0).is_err());
}
