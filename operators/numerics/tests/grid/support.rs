//! The published networks these tests run on, and a source of noise.

use gridflow_inputs::matpower;
use gridflow_inputs::network::Network;
use gridflow_numerics::case::Case;
use std::f64::consts::PI;
use std::path::PathBuf;

/// The directory of public data sets, when it is there.
pub(crate) fn data() -> Option<PathBuf> {
    #[allow(clippy::disallowed_methods)] // where test data lies is no row of a log
    let given = std::env::var("GRIDFLOW_DATA").map(PathBuf::from);
    let path = given.unwrap_or_else(|_| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")));
    path.is_dir().then_some(path)
}

/// A MATPOWER file of the data sets as a case, when it is there; says so otherwise.
pub(crate) fn published(name: &str) -> Option<Case> {
    let (base_mva, network) = published_network(name)?;
    Some(Case::new(base_mva, &network).expect("a published file makes sense"))
}

/// The base power of a MATPOWER file of the data sets and its rows.
#[allow(clippy::print_stdout)] // a test that checks nothing has to say so
pub(crate) fn published_network(name: &str) -> Option<(f64, Network)> {
    let text = data().and_then(|data| std::fs::read_to_string(data.join(format!("matpower/{name}.m"))).ok());
    if text.is_none() {
        println!("skipped: {name}.m is not in the data directory");
    }
    let file = matpower::read(name, &text?).expect("a published file can be read");
    Some((file.base_power.mva(), file.network))
}

/// Normally distributed numbers from a seed: splitmix64 and Box-Muller.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Above 0, at most 1.
    fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Mean 0, standard deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(self.uniform())).sqrt();
        radius * libm::cos(2.0 * PI * self.uniform())
    }
}
