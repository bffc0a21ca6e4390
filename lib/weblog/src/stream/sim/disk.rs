//! A file on a disk that forgets.

use super::Random;

/// A file that is appended to.
#[derive(Debug, Default)]
pub(super) struct Disk {
    bytes: Vec<u8>,
    synced: usize,
}

impl Disk {
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Everything up to this length is safe.
    pub(super) fn sync(&mut self, length: usize) {
        self.synced = self.synced.max(length.min(self.bytes.len()));
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn synced(&self) -> &[u8] {
        &self.bytes[..self.synced]
    }

    /// The power fails: of what was not synced a part is there, with its end torn or garbled.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        let unsynced = self.bytes.len() - self.synced;
        self.bytes
            .truncate(self.synced + random.below(unsynced as u64 + 1) as usize);
        let torn = self.bytes.len() - self.synced;
        if torn > 0 && random.one_in(2) {
            let at = self.synced + random.index(torn);
            self.bytes[at..].fill(random.next() as u8);
        }
    }

    /// Cuts a torn end, and syncs, as a program does that starts.
    pub(super) fn cut(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.synced = length;
    }
}
