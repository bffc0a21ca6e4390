//! When to try again, under which name, and what is worth a word; no I/O, no clock, no randomness.

use std::time::{Duration, Instant};

use crate::error::ConnectError;
use crate::handshake::Reject;
use crate::name::{PRIVATE_NAME_MAX, PrivateName};

/// The first pause after a failure. Each further one is twice as long, up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(40);

/// The longest pause, unless the program has another one.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The longest pause while the program is in a hurry.
const PAUSE_HURRIED: Duration = Duration::from_millis(100);

/// A session that lasted for so long was of use: the next one may come soon after it.
const PROVEN: Duration = Duration::from_secs(1);

/// What a program does when it has no session.
#[derive(Debug)]
pub(crate) struct Reconnect {
    /// The name to ask for, as long as no other session is seen to have it.
    name: Option<PrivateName>,
    /// What every name begins with: others know by it what kind of session it is.
    prefix: &'static [u8],
    pause: Duration,
    pause_max: Duration,
    /// For how long the program is in a hurry when a session has ended, and until when it is.
    hurry: Duration,
    hurry_until: Instant,
    due: Instant,
    connected_at: Option<Instant>,
    /// Whether the trouble that there is has been told.
    told: bool,
}

impl Reconnect {
    /// The first attempt is due now.
    pub(crate) fn new(name: Option<PrivateName>, prefix: &'static [u8], now: Instant) -> Reconnect {
        Reconnect {
            name,
            prefix,
            pause: PAUSE_FIRST,
            pause_max: PAUSE_MAX,
            hurry: Duration::ZERO,
            hurry_until: now,
            due: now,
            connected_at: None,
            told: false,
        }
    }

    /// Sets the longest pause.
    pub(crate) fn set_pause_max(&mut self, pause: Duration) {
        self.pause_max = pause;
    }

    /// Sets for how long after the end of a session the pauses are short, however many sessions have
    /// ended before.
    pub(crate) fn set_hurry(&mut self, hurry: Duration) {
        self.hurry = hurry;
    }

    /// When the next attempt is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// The name to ask for: the program's own, or the prefix and what makes it unique.
    ///
    /// It is never left to the daemon, whose invention would not tell what kind of session it is.
    /// The own name may be taken by another container's process of this number, or by a session
    /// that was given up and whose end the daemon has not noticed.
    pub(crate) fn name(&self, random: u64) -> PrivateName {
        const DIGITS: [u8; 36] = *b"0123456789abcdefghijklmnopqrstuvwxyz";
        if let Some(name) = self.name {
            return name;
        }
        let mut bytes = self.prefix.to_vec();
        let mut rest = random;
        while bytes.len() < PRIVATE_NAME_MAX {
            bytes.push(DIGITS[(rest % 36) as usize]);
            rest /= 36;
        }
        PrivateName::new(&bytes).expect("a prefix of private names")
    }

    /// An attempt has failed; gives whether that is news.
    pub(crate) fn handle_failure(
        &mut self,
        now: Instant,
        error: &ConnectError,
        random: u32,
    ) -> bool {
        if matches!(error, ConnectError::Rejected(Reject::NotUnique)) {
            self.name = None;
        }
        self.put_off(now, random);
        !std::mem::replace(&mut self.told, true)
    }

    /// There is a session; gives whether that ends trouble that has been told.
    pub(crate) fn handle_connected(&mut self, now: Instant) -> bool {
        self.connected_at = Some(now);
        std::mem::take(&mut self.told)
    }

    /// The session is lost, which is told.
    pub(crate) fn handle_lost(&mut self, now: Instant, random: u32) {
        self.told = true;
        self.handle_closed(now, random);
    }

    /// The program has ended the session.
    pub(crate) fn handle_closed(&mut self, now: Instant, random: u32) {
        let connected_at = self.connected_at.take();
        if connected_at.is_some_and(|at| now.saturating_duration_since(at) >= PROVEN) {
            self.pause = PAUSE_FIRST;
        }
        self.hurry_until = now + self.hurry;
        self.put_off(now, random);
    }

    /// Half of the pause is a matter of chance, as all sessions of a daemon end together.
    fn put_off(&mut self, now: Instant, random: u32) {
        let longest = match now < self.hurry_until {
            true => self.pause_max.min(PAUSE_HURRIED),
            false => self.pause_max,
        };
        let pause = self.pause.min(longest);
        let half = pause / 2;
        self.due = now + half + half.mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.pause = (pause * 2).min(longest);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn unreachable() -> ConnectError {
        ConnectError::Unreachable(io::ErrorKind::ConnectionRefused.into())
    }

    fn begins_with(name: PrivateName, prefix: &str) -> bool {
        let bytes: &[u8] = name.as_ref();
        bytes.starts_with(prefix.as_bytes())
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut now = Instant::now();
        let mut reconnect = Reconnect::new(None, b"ic", now);
        assert_eq!(reconnect.due(), now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            reconnect.handle_failure(now, &unreachable(), u32::MAX);
            pauses.push((reconnect.due() - now).as_millis());
            now = reconnect.due();
        }
        assert_eq!(pauses, [40, 80, 160, 320, 640, 1280, 2000, 2000]);
    }

    #[test]
    fn a_session_that_lasted_makes_the_pause_short_again() {
        let start = Instant::now();
        for (lasted, expected) in [(PROVEN, 40), (PROVEN / 2, 80)] {
            let mut reconnect = Reconnect::new(None, b"ic", start);
            reconnect.handle_failure(start, &unreachable(), 0);
            reconnect.handle_connected(start);
            reconnect.handle_lost(start + lasted, u32::MAX);
            let pause = reconnect.due() - (start + lasted);
            assert_eq!(pause.as_millis(), expected, "after {lasted:?}");
        }
    }

    #[test]
    fn a_program_in_a_hurry_tries_often_after_whatever_was_before() {
        let start = Instant::now();
        let hurry = Duration::from_millis(1000);
        let mut reconnect = Reconnect::new(None, b"v", start);
        reconnect.set_pause_max(Duration::from_secs(5));
        reconnect.set_hurry(hurry);
        let mut now = start;
        for _ in 0..12 {
            reconnect.handle_failure(now, &unreachable(), u32::MAX);
            now = reconnect.due();
        }
        for session in 0..9 {
            reconnect.handle_connected(now);
            now += PROVEN / 2;
            reconnect.handle_lost(now, u32::MAX);
            let lost = now;
            for attempt in 0.. {
                let pause = reconnect.due() - now;
                assert!(
                    pause <= PAUSE_HURRIED,
                    "{pause:?}, attempt {attempt} of {session}"
                );
                now = reconnect.due();
                if now >= lost + hurry {
                    break;
                }
                reconnect.handle_failure(now, &unreachable(), u32::MAX);
            }
        }
        // Who is not in a hurry any more has the pauses of others.
        let mut last = Duration::ZERO;
        for _ in 0..9 {
            reconnect.handle_failure(now, &unreachable(), u32::MAX);
            last = reconnect.due() - now;
            now = reconnect.due();
        }
        assert_eq!(last, Duration::from_secs(5));
    }

    #[test]
    fn a_name_that_is_taken_is_given_up_for_one_of_the_same_kind() {
        let now = Instant::now();
        let own: PrivateName = "=4711".parse().unwrap();
        let mut reconnect = Reconnect::new(Some(own), b"=", now);
        reconnect.handle_failure(now, &unreachable(), 0);
        assert_eq!(reconnect.name(1), own);
        reconnect.handle_failure(now, &ConnectError::Rejected(Reject::NotUnique), 0);
        assert_eq!(reconnect.name(35), "=z00000000".parse().unwrap());
        assert_ne!(reconnect.name(1), reconnect.name(2));
    }

    #[test]
    fn a_session_that_the_program_ended_is_no_failure() {
        let now = Instant::now();
        let mut reconnect = Reconnect::new(None, b"~", now);
        reconnect.handle_connected(now);
        reconnect.handle_closed(now, 0);
        assert_eq!(reconnect.due(), now + PAUSE_FIRST / 2);
        assert!(!reconnect.handle_connected(now), "no trouble was told");
    }

    #[derive(Clone, Debug)]
    enum Input {
        Refused,
        Taken,
        /// The session comes, and is lost after so many milliseconds.
        Session(u64),
    }

    fn inputs() -> impl Strategy<Value = Input> {
        prop_oneof![
            Just(Input::Refused),
            Just(Input::Taken),
            (0..3000_u64).prop_map(Input::Session),
        ]
    }

    proptest! {
        /// Whatever happens: attempts do not come faster than the shortest pause nor slower than
        /// the longest, each outage is told once, and names are of the kind that was asked for.
        #[test]
        fn attempts_are_paced_told_once_and_named(
            inputs in vec((inputs(), any::<u32>()), 1..60),
            own in any::<bool>(),
        ) {
            let mut now = Instant::now();
            let name = own.then(|| "pd77".parse().unwrap());
            let mut reconnect = Reconnect::new(name, b"pd", now);
            let mut told = false;
            for (input, random) in inputs {
                prop_assert!(begins_with(reconnect.name(u64::from(random)), "pd"));
                let error = match input {
                    Input::Taken => ConnectError::Rejected(Reject::NotUnique),
                    _ => unreachable(),
                };
                match input {
                    Input::Session(milliseconds) => {
                        prop_assert_eq!(reconnect.handle_connected(now), told);
                        now += Duration::from_millis(milliseconds);
                        reconnect.handle_lost(now, random);
                    }
                    _ => prop_assert_eq!(reconnect.handle_failure(now, &error, random), !told),
                }
                told = true;
                let pause = reconnect.due() - now;
                prop_assert!(pause >= PAUSE_FIRST / 2 && pause <= PAUSE_MAX, "{:?}", pause);
                now = reconnect.due();
            }
        }
    }
}
