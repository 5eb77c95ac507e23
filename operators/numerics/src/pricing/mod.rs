//! Price signal of a zone: what energy costs there, and more as the reserve runs out.
//!
//! `signal = λ + (VOLL − λ) · P(reserve < minimum)`, capped at VOLL, with λ the load-weighted mean LMP of the zone and
//! the net-load error normally distributed (the operating-reserve demand curve of Hogan and ERCOT). The signal never
//! falls when the reserve does. Prices in currency per MWh, powers in MW.

/// Parameters of the shortage adder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shortage {
    /// Value of lost load: what a MWh not served is worth, and the cap of the signal.
    pub lost_load_per_mwh: f64,
    /// Reserve below which load is at risk, MW (the largest single loss, say).
    pub reserve_mw_min: f64,
    /// Standard deviation of the net-load forecast's error until reserve can follow, MW; 0 makes the curve a step.
    pub error_mw: f64,
}

/// A price signal and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signal {
    /// Load-weighted mean LMP.
    pub energy: f64,
    /// Probability that the reserve falls below its minimum.
    pub shortage_probability: f64,
    /// What shortage adds.
    pub adder: f64,
    /// The signal: energy plus adder, at most the value of lost load.
    pub price: f64,
}

/// Why there is no signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PricingError {
    /// The zone has no bus.
    #[error("the zone has no bus with a price")]
    NoBus,
    /// A load, price, reserve or parameter is not finite, or a load or parameter is negative.
    #[error("{0} is not possible")]
    Number(&'static str),
}

/// The signal of a zone from (load in MW, LMP) of its buses by id and its reserve in MW.
///
/// Without load the LMPs count alike.
///
/// # Errors
/// When the zone has no bus or a number is not possible.
pub fn zone_signal(buses: &[(f64, f64)], reserve_mw: f64, shortage: &Shortage) -> Result<Signal, PricingError> {
    if buses.is_empty() {
        return Err(PricingError::NoBus);
    }
    if !buses.iter().all(|(load, lmp)| load.is_finite() && *load >= 0.0 && lmp.is_finite()) {
        return Err(PricingError::Number("a load or price of a bus"));
    }
    let not_negative = |value: f64| value.is_finite() && value >= 0.0;
    if !reserve_mw.is_finite() || !not_negative(shortage.error_mw) || !shortage.reserve_mw_min.is_finite() {
        return Err(PricingError::Number("the reserve, its minimum or its error"));
    }
    if !not_negative(shortage.lost_load_per_mwh) {
        return Err(PricingError::Number("the value of lost load"));
    }
    let load: f64 = buses.iter().map(|(load, _)| load).sum();
    let energy = if load > 0.0 {
        buses.iter().map(|(load, lmp)| load * lmp).sum::<f64>() / load
    } else {
        buses.iter().map(|(_, lmp)| lmp).sum::<f64>() / buses.len() as f64
    };
    let shortage_probability = shortage_probability(reserve_mw, shortage);
    let adder = (shortage.lost_load_per_mwh - energy).max(0.0) * shortage_probability;
    let price = (energy + adder).min(shortage.lost_load_per_mwh);
    Ok(Signal { energy, shortage_probability, adder, price })
}

/// `P(error > reserve − minimum)`, the error normal around 0.
#[must_use]
pub fn shortage_probability(reserve_mw: f64, shortage: &Shortage) -> f64 {
    let margin = reserve_mw - shortage.reserve_mw_min;
    if shortage.error_mw > 0.0 {
        0.5 * libm::erfc(margin / (shortage.error_mw * std::f64::consts::SQRT_2))
    } else if margin < 0.0 {
        1.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHORTAGE: Shortage = Shortage { lost_load_per_mwh: 10_000.0, reserve_mw_min: 400.0, error_mw: 100.0 };

    #[test]
    fn at_the_minimum_half_of_the_way_to_the_value_of_lost_load_is_added() {
        let signal = zone_signal(&[(100.0, 30.0), (300.0, 50.0)], 400.0, &SHORTAGE).unwrap();
        assert_eq!(signal.energy, 45.0);
        assert_eq!(signal.shortage_probability, 0.5);
        assert_eq!(signal.price, 45.0 + 0.5 * 9_955.0);
    }

    /// Normal tails of a printed table: 1 and 1.96 deviations.
    #[test]
    fn the_probability_is_the_normal_tail() {
        assert!((shortage_probability(500.0, &SHORTAGE) - 0.158_655).abs() < 5e-7);
        assert!((shortage_probability(596.0, &SHORTAGE) - 0.024_998).abs() < 5e-7);
    }

    #[test]
    fn without_error_the_adder_is_a_step_and_without_load_prices_count_alike() {
        let step = Shortage { error_mw: 0.0, ..SHORTAGE };
        assert_eq!(zone_signal(&[(0.0, 20.0), (0.0, 40.0)], 400.0, &step).unwrap().price, 30.0);
        assert_eq!(zone_signal(&[(0.0, 20.0), (0.0, 40.0)], 399.0, &step).unwrap().price, 10_000.0);
    }

    #[test]
    fn an_lmp_beyond_the_value_of_lost_load_is_capped() {
        let signal = zone_signal(&[(1.0, 20_000.0)], 0.0, &SHORTAGE).unwrap();
        assert_eq!((signal.price, signal.adder), (10_000.0, 0.0));
    }

    #[test]
    fn impossible_numbers_are_refused() {
        assert_eq!(zone_signal(&[], 0.0, &SHORTAGE), Err(PricingError::NoBus));
        assert!(zone_signal(&[(f64::NAN, 1.0)], 0.0, &SHORTAGE).is_err());
        assert!(zone_signal(&[(1.0, 1.0)], f64::NAN, &SHORTAGE).is_err());
        assert!(zone_signal(&[(1.0, 1.0)], 0.0, &Shortage { error_mw: -1.0, ..SHORTAGE }).is_err());
    }

    proptest! {
        #[test]
        fn less_reserve_never_makes_it_cheaper(lmp in -50.0..12_000.0f64, reserve in -500.0..2_000.0f64, less in 0.0..500.0f64, error in 0.0..300.0f64) {
            let shortage = Shortage { error_mw: error, ..SHORTAGE };
            let price = |reserve| zone_signal(&[(1.0, lmp)], reserve, &shortage).unwrap().price;
            prop_assert!(price(reserve - less) >= price(reserve));
            prop_assert!(price(reserve) <= 10_000.0 && price(reserve) >= lmp.min(10_000.0));
        }
    }
}
