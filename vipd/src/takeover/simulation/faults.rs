//! What goes wrong.

use std::time::Duration;

use super::World;

impl World {
    pub(super) fn fault(&mut self) {
        let host = self.any_host();
        match self.below(14) {
            0..4 => self.cut(),
            4..6 => self.regroup(&(0..self.hosts.len()).collect::<Vec<_>>()),
            6 => self.crash(host),
            7 if self.hosts[host].connected => self.lose_bus(host),
            8 => {
                self.tell(host, format_args!("pauses"));
                self.hosts[host].paused = true;
            }
            9 | 10 if self.hosts[host].paused => self.resume(host),
            11 => {
                let drained = self.below(2) == 0;
                self.hosts[host].takeover.set_drained(drained);
            }
            12 => {
                let sick = (self.below(2) == 0).then(|| "tcp".to_owned());
                self.hosts[host].takeover.set_sick(sick);
            }
            _ => {
                let set_count = self.set_count;
                let able = (0..set_count).filter(|_| self.below(4) > 0).collect();
                self.hosts[host].takeover.set_able(able);
            }
        }
        self.collect(host);
    }

    /// A vipd is held up within its turn: it has read the bus, and not yet done what it has decided.
    /// Often the others go on without it.
    pub(super) fn hold_up(&mut self, host: usize) {
        let milliseconds = self.below(280) as u64;
        self.tell(host, format_args!("is held up for {milliseconds} ms"));
        let until = self.elapsed + Duration::from_millis(milliseconds);
        self.hosts[host].paused = true;
        self.hosts[host].held_up_until = Some(until);
        if self.below(2) == 0 && self.hosts[host].connected {
            self.lose_bus(host);
        }
    }

    /// Two parts, of any of the hosts that there are; a part may bring hosts together anew.
    fn cut(&mut self) {
        let apart = self.below(1 << self.hosts.len());
        for bit in 0..2 {
            let side: Vec<usize> = (0..self.hosts.len())
                .filter(|host| (apart >> host) & 1 == bit)
                .collect();
            if !side.is_empty() {
                self.regroup(&side);
            }
        }
    }

    /// vipd dies and starts again: its guardian purges the kernel and tells the group, or the new
    /// vipd purges it.
    fn crash(&mut self, host: usize) {
        if self.below(4) == 0 {
            // The guardian dies too: nobody tells.
            self.hosts[host].guardian = None;
        }
        self.tell(host, format_args!("vipd dies"));
        let guarded = self.hosts[host].guardian.is_some();
        let takeover = self.takeover(host);
        self.hosts[host].start_again(takeover);
        if !guarded {
            self.hosts[host].guardian = Some(super::host::Guardian::default());
        }
        if self.hosts[host].connected {
            self.disconnect(host);
        }
    }

    fn lose_bus(&mut self, host: usize) {
        // The daemon finishes its batch before it looks at the bus again.
        while self.execute(host) {}
        self.tell(host, format_args!("groupd dies"));
        self.disconnect(host);
        let now = self.now(host);
        self.hosts[host].groupd = false;
        if !self.hosts[host].paused {
            self.hosts[host].lost_at = Some(now);
            self.hosts[host].takeover.handle_bus_lost(now);
        }
    }
}
