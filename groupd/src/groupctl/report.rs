//! What a flood measured.

use std::time::Duration;

use serde_json::{Value, json};

/// Latencies of own messages: from queueing one to having it back.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    /// Bound: one per message sent.
    micros: Vec<u32>,
}

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        self.micros
            .push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    fn sort(&mut self) {
        self.micros.sort_unstable();
    }

    /// The smallest latency that so many percent are not above; they must be sorted, and some.
    fn percentile(&self, percent: usize) -> u32 {
        let rank = (self.micros.len() * percent).div_ceil(100);
        self.micros[rank.max(1) - 1]
    }
}

/// What was delivered to a member.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    pub(crate) messages: u64,
    /// Bytes of data in them.
    pub(crate) bytes: u64,
}

/// The outcome of a flood, as one client sees it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) group: String,
    pub(crate) service: &'static str,
    /// Bytes of data in an own message.
    pub(crate) bytes: u32,
    pub(crate) members: u32,
    pub(crate) senders: u32,
    /// Own messages sent.
    pub(crate) sent: u64,
    /// Messages of all senders that were delivered here; none without membership.
    pub(crate) received: Option<Received>,
    /// From the first moment that all members were there to the end of the last sender.
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Latencies,
}

impl Report {
    /// What is counted per second: messages delivered here, or sent by who is no member.
    fn counted(&self) -> Received {
        let sent = Received {
            messages: self.sent,
            bytes: self.sent * u64::from(self.bytes),
        };
        self.received.unwrap_or(sent)
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub(crate) fn text(mut self) -> String {
        self.latencies.sort();
        let verb = if self.received.is_some() {
            "received"
        } else {
            "sent"
        };
        let counted = self.counted();
        let mut text = format!(
            "{verb} {} messages ({}, {} bytes of data) in {:.3} s: {:.0} messages/s, {:.1} MB/s\n",
            counted.messages,
            self.service,
            counted.bytes,
            self.elapsed.as_secs_f64(),
            self.per_second(counted.messages),
            self.per_second(counted.bytes) / 1e6,
        );
        let latencies = &self.latencies;
        if let Some(max) = latencies.micros.last() {
            let [p50, p95, p99] = [50, 95, 99].map(|percent| latencies.percentile(percent));
            let samples = latencies.micros.len();
            text.push_str(&format!(
                "latency of {samples} own messages: p50 {p50} us, p95 {p95} us, p99 {p99} us, \
                 max {max} us\n"
            ));
        }
        text
    }

    pub(crate) fn json(mut self) -> Value {
        self.latencies.sort();
        let latencies = &self.latencies;
        let latency = latencies.micros.last().map(|max| {
            json!({
                "samples": latencies.micros.len(),
                "p50": latencies.percentile(50),
                "p95": latencies.percentile(95),
                "p99": latencies.percentile(99),
                "max": max,
            })
        });
        json!({
            "group": self.group,
            "service": self.service,
            "bytes": self.bytes,
            "members": self.members,
            "senders": self.senders,
            "sent": self.sent,
            "received": self.received.map(|received| received.messages),
            "received_bytes": self.received.map(|received| received.bytes),
            "seconds": self.elapsed.as_secs_f64(),
            "messages_per_second": self.per_second(self.counted().messages),
            "megabytes_per_second": self.per_second(self.counted().bytes) / 1e6,
            "latency_us": latency,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut latencies = Latencies::default();
        for micros in (1..=200).rev() {
            latencies.add(Duration::from_micros(micros));
        }
        latencies.sort();
        let percentiles = [0, 1, 50, 95, 99, 100].map(|percent| latencies.percentile(percent));
        assert_eq!(percentiles, [1, 2, 100, 190, 198, 200]);
    }

    #[test]
    fn one_sample_is_every_percentile() {
        let mut latencies = Latencies::default();
        latencies.add(Duration::from_micros(7));
        assert_eq!(
            [1, 50, 99].map(|percent| latencies.percentile(percent)),
            [7; 3]
        );
    }
}
