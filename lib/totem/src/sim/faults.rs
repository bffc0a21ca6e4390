//! What can go wrong in a simulation, and how often it did.

use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A packet was lost by chance.
    Loss,
    /// A packet was lost in a burst of losses on its link.
    BurstLoss,
    /// A multicast was lost for all of its receivers.
    MulticastLoss,
    /// A packet arrived twice.
    Duplicate,
    /// A packet was overtaken by later ones.
    Reorder,
    /// Bits of a packet were flipped.
    Corrupt,
    /// A packet was cut short.
    Truncate,
    /// A packet recorded earlier was sent again, perhaps of a former life of its sender.
    Replay,
    /// A receive buffer was full.
    Overflow,
    /// A link was dead in one direction.
    OneWayCut,
    /// The hosts were split in two.
    Partition,
    /// One host was cut off.
    Isolation,
    /// Two hosts did not hear each other, and both heard a third.
    NonTransitive,
    /// A link held everything back, and then delivered all at once.
    Clog,
    /// A packet was lost because it was large.
    SizeLoss,
    /// A process was killed.
    Crash,
    /// A process was killed while it waited for its disk.
    CrashInPersist,
    /// A process was killed while a ring was being formed or recovered.
    CrashInRecovery,
    /// A process was killed right after it sent a certain packet.
    CrashAfterSend,
    /// A host lost the disk with its ring counter.
    DiskLost,
    /// All processes were killed and started again.
    RestartAll,
    /// A process stood still for a while.
    Pause,
    /// A process became many times slower.
    Slow,
    /// The clients of a process did not keep up.
    SlowReaders,
    /// A daemon took a configuration with a host less, or with one more.
    Reconfigured,
    /// A process started with a configuration that lists the hosts in another order.
    OtherOrder,
    /// A second process began to speak under the name of another.
    Twin,
    /// A process gave way to its twin.
    GaveWay,
    /// A process left cleanly.
    Leave,
    /// A host refused a packet for a process that was dead.
    Refusal,
    /// A refusal arrived although the process lived.
    FalseRefusal,
    /// Certain packets of the protocol, and no others, were dropped.
    TargetedLoss,
    /// Certain packets of the protocol, and no others, were held back.
    TargetedDelay,
    /// A session connected that is not told of memberships.
    Unaware,
    /// A client stopped reading.
    Stall,
    /// A client that did not read was disconnected.
    ThrownOut,
    /// A session that was in many groups ended.
    EndOfMany,
    /// A name was connected again at the place where the end of its last session was ordered.
    NameTakenAgain,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 38] = [
        Fault::Loss,
        Fault::BurstLoss,
        Fault::MulticastLoss,
        Fault::Duplicate,
        Fault::Reorder,
        Fault::Corrupt,
        Fault::Truncate,
        Fault::Replay,
        Fault::Overflow,
        Fault::OneWayCut,
        Fault::Partition,
        Fault::Isolation,
        Fault::NonTransitive,
        Fault::Clog,
        Fault::SizeLoss,
        Fault::Crash,
        Fault::CrashInPersist,
        Fault::CrashInRecovery,
        Fault::CrashAfterSend,
        Fault::DiskLost,
        Fault::RestartAll,
        Fault::Pause,
        Fault::Slow,
        Fault::SlowReaders,
        Fault::Reconfigured,
        Fault::OtherOrder,
        Fault::Twin,
        Fault::GaveWay,
        Fault::Leave,
        Fault::Refusal,
        Fault::FalseRefusal,
        Fault::TargetedLoss,
        Fault::TargetedDelay,
        Fault::Unaware,
        Fault::Stall,
        Fault::ThrownOut,
        Fault::EndOfMany,
        Fault::NameTakenAgain,
    ];
}

/// How often each kind of fault took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    counts: [u64; Fault::ALL.len()],
}

impl Default for Tally {
    fn default() -> Tally {
        let counts = [0; Fault::ALL.len()];
        Tally { counts }
    }
}

impl Tally {
    /// It took effect once more.
    pub fn count(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }

    /// How often it took effect.
    pub fn of(&self, fault: Fault) -> u64 {
        self.counts[fault as usize]
    }

    /// Adds what another run counted.
    pub fn add(&mut self, other: &Tally) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            write!(f, "{blank}{fault:?}={}", self.of(fault))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_own_count() {
        let mut tally = Tally::default();
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
            tally.count(fault);
        }
        let mut twice = tally.clone();
        twice.add(&tally);
        assert!(Fault::ALL.into_iter().all(|fault| twice.of(fault) == 2));
    }
}
