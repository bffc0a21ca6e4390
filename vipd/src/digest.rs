//! A hash that is the same on every machine and in every version: FNV-1a with a final mix.
//!
//! It tells configurations and rounds apart and breaks ties; it defends against nobody.

/// Hashes parts so that their boundaries count.
#[derive(Clone, Copy, Debug)]
pub struct Digest(u64);

impl Digest {
    /// The digest of nothing; 64-bit FNV's offset basis.
    pub fn new() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a part.
    #[must_use]
    pub fn part(self, bytes: &[u8]) -> Digest {
        let length = (bytes.len() as u64).to_le_bytes();
        let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Digest(length.iter().chain(bytes).fold(self.0, step))
    }

    /// Adds a number.
    #[must_use]
    pub fn number(self, number: u64) -> Digest {
        self.part(&number.to_le_bytes())
    }

    /// The value, its bits well mixed (the finisher of MurmurHash3).
    pub fn value(self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}

impl Default for Digest {
    fn default() -> Digest {
        Digest::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_never_change_and_boundaries_count() {
        let digest = |parts: &[&str]| {
            let add = |digest: Digest, part: &&str| digest.part(part.as_bytes());
            parts.iter().fold(Digest::new(), add).value()
        };
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&[]), digest(&[""]));
        assert_eq!(digest(&["web1"]), 0x1402_886c_68d0_b6a8);
    }
}
