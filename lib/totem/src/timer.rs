//! The timers of a member in one table, so that none is forgotten.

use crate::time::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The token did not come back.
    TokenLoss,
    /// The token is late: who is there?
    RollCall,
    /// The successor gave no sign that it has the token.
    TokenRetransmit,
    /// The token of an idle ring is kept until then.
    TokenHold,
    /// HELLO to configured members outside the ring.
    Beacon,
    /// HELLO because what we hear changed.
    Hello,
    /// Whoever has not answered the gathering by now is left out.
    GatherDeadline,
    /// The formation was not acknowledged by the next member.
    FormRetransmit,
    /// The formation does not go on.
    FormDeadline,
    /// A probe is due, or its answer overdue.
    Probe,
    /// LEAVE is repeated.
    Leave,
}

impl Timer {
    pub(crate) const ALL: [Timer; 11] = [
        Timer::TokenLoss,
        Timer::RollCall,
        Timer::TokenRetransmit,
        Timer::TokenHold,
        Timer::Beacon,
        Timer::Hello,
        Timer::GatherDeadline,
        Timer::FormRetransmit,
        Timer::FormDeadline,
        Timer::Probe,
        Timer::Leave,
    ];
}

/// When each timer fires.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    at: [Option<Time>; Timer::ALL.len()],
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Time) {
        self.at[timer as usize] = Some(at);
    }

    /// Sets the timer unless it would fire earlier anyway.
    pub(crate) fn set_by(&mut self, timer: Timer, at: Time) {
        let slot = &mut self.at[timer as usize];
        *slot = Some(slot.map_or(at, |set| set.min(at)));
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.at[timer as usize] = None;
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.at[timer as usize].is_some()
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.at.iter().flatten().min().copied()
    }

    /// Stops and returns a timer that is due, and when it was.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<(Timer, Time)> {
        let due = |timer: &&Timer| self.at[**timer as usize].is_some_and(|at| at <= now);
        let timer = *Timer::ALL.iter().find(due)?;
        let at = self.at[timer as usize].take()?;
        Some((timer, at))
    }
}
