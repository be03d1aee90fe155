//! Latencies in the form that reports give them.

use resmlp_runtime::measure::Latency;
use serde::{Deserialize, Serialize};

/// Latency of whole forward passes, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Milliseconds {
    /// The fastest run.
    pub min: f64,
    /// Half of the runs took no longer.
    pub median: f64,
    /// 90 % of the runs took no longer.
    pub p90: f64,
    /// 99 % of the runs took no longer.
    pub p99: f64,
    /// The slowest run.
    pub max: f64,
}

impl From<Latency> for Milliseconds {
    fn from(latency: Latency) -> Self {
        let Latency { min_ms, median_ms, p90_ms, p99_ms, max_ms } = latency;
        Self { min: min_ms, median: median_ms, p90: p90_ms, p99: p99_ms, max: max_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_names() {
        let latency = Latency { min_ms: 1.0, median_ms: 2.0, p90_ms: 3.0, p99_ms: 4.0, max_ms: 5.0 };
        let json = serde_json::to_string(&Milliseconds::from(latency)).unwrap();
        assert_eq!(json, r#"{"min":1.0,"median":2.0,"p90":3.0,"p99":4.0,"max":5.0}"#);
    }
}
