//! What a logger's clock shows, for those who go by the time of the stream.

use bytes::Bytes;

use super::control::Control;

/// The clock in a logger's tick, in seconds since 1970; none if the message of the control group
/// is something else.
pub fn tick_of(message: &Bytes) -> Option<u64> {
    match Control::decode(message)? {
        Control::Tick { second, .. } => Some(second),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::control::RoundId;
    use super::*;

    #[test]
    fn only_ticks_have_a_time() {
        let round = RoundId::default();
        let tick = Control::Tick {
            round,
            second: 7,
            marks: vec![("a".to_owned(), 9)],
        };
        assert_eq!(tick_of(&tick.encode()), Some(7));
        assert_eq!(tick_of(&Control::Go { round }.encode()), None);
        assert_eq!(tick_of(&Bytes::from_static(b"GET /")), None);
    }
}
