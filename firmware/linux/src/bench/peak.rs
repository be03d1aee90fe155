//! Computes which share of the cores' peak rate a model reaches.

use resmlp_report::{Peak, Sample};

use crate::machine::Cores;

/// Returns the peak rate of `threads` cores and the share that `found_gmac_per_s` is of it. The cores are those of
/// `cpus`, or any if `cpus` is empty.
///
/// # Errors
/// Returns the reason if the rate of these cores or their clock is not known.
pub fn peak(
    cores: &Cores,
    cpus: &[usize],
    threads: usize,
    counted_mhz: Option<f64>,
    samples: &[Sample],
    found_gmac_per_s: f64,
) -> Result<Peak, String> {
    let macs = cores.macs_per_cycle(cpus)?;
    let told = || {
        let told: Vec<f64> = samples.iter().flat_map(|sample| &sample.mhz).copied().collect();
        (!told.is_empty()).then(|| (told.iter().sum::<f64>() / told.len() as f64, "kernel"))
    };
    let counted = counted_mhz.map(|mhz| (mhz, "cycle counter"));
    // A share of a peak of 0 would be infinite, and JSON holds no infinity.
    let known = counted.or_else(told).filter(|(mhz, _)| *mhz > 0.0);
    let (mhz, mhz_from) = known.ok_or("the clock is not known")?;
    let gmac_per_s = f64::from(macs) * threads as f64 * mhz / 1e3;
    let share = found_gmac_per_s / gmac_per_s;
    Ok(Peak { macs_per_cycle_and_core: macs, cores: threads, mhz, mhz_from: mhz_from.to_owned(), gmac_per_s, share })
}

#[cfg(test)]
mod tests {
    use resmlp_runtime::measure::Phase;

    use super::*;
    use crate::files::Files;
    use crate::files::tests::board;

    #[test]
    fn a_raspberry_pi_4_has_48_gmac_per_s() {
        let (_folder, files) = board("raspberry-pi-4");
        let cores = Cores::read(&files, "aarch64");
        let sample = Sample { seconds: 0.0, phase: Phase::Measured, mhz: vec![1500.0], temperature_c: None };
        let found = peak(&cores, &[], 4, None, &[sample], 12.0).unwrap();
        let expected = Peak {
            macs_per_cycle_and_core: 8,
            cores: 4,
            mhz: 1500.0,
            mhz_from: "kernel".to_owned(),
            gmac_per_s: 48.0,
            share: 0.25,
        };
        assert_eq!(found, expected);
        let found = peak(&cores, &[0], 1, Some(1000.0), &[], 4.0).unwrap();
        assert_eq!((found.gmac_per_s, found.share, found.mhz_from.as_str()), (8.0, 0.5, "cycle counter"));
        assert!(peak(&cores, &[], 4, None, &[], 12.0).unwrap_err().contains("clock"));
        let stopped = Sample { seconds: 0.0, phase: Phase::Measured, mhz: vec![0.0], temperature_c: None };
        assert!(peak(&cores, &[], 4, None, &[stopped], 12.0).unwrap_err().contains("clock"));
        let unknown = Cores::read(&Files::below("nowhere"), "aarch64");
        assert!(peak(&unknown, &[], 1, Some(1000.0), &[], 1.0).unwrap_err().contains("core is not known"));
    }
}
