//! A hash against accidents: torn writes, stale bytes, diverged journals. Not against an adversary.

/// Odd constants with bits well spread (the first digits of pi).
const KEYS: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345];

/// The hash of bytes in front of which `seed` stands, 8 bytes at a time by folded multiplication;
/// in four lanes as long as there is enough, as each product waits for the one before.
pub fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = fold(fold(seed ^ KEYS[0], KEYS[1]) ^ bytes.len() as u64, KEYS[0]);
    let (blocks, rest) = bytes.as_chunks::<32>();
    if !blocks.is_empty() {
        let mut lanes = [0, 1, 2, 3].map(|lane| mix(state, lane));
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
                *lane = fold(*lane ^ u64::from_le_bytes(*word), KEYS[1]);
            }
        }
        state = lanes.into_iter().fold(state, mix);
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), KEYS[1]);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(state ^ u64::from_le_bytes(last), KEYS[0])
}

/// The hash of two numbers, in this order.
pub(super) fn mix(left: u64, right: u64) -> u64 {
    fold(fold(left ^ KEYS[0], KEYS[1]) ^ right, KEYS[0])
}

/// Both halves of the product, so that no bit of either factor is lost.
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right | 1);
    (product as u64) ^ ((product >> 64) as u64).rotate_left(23) ^ left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_length_and_seed_matters() {
        let text =
            *b"203.0.113.7 - - [10/Oct/2000:13:55:36 -0700] \"GET /index.html HTTP/1.1\" 200 2326";
        let mut seen = std::collections::BTreeSet::from([hash(0, &text), hash(1, &text)]);
        for bit in 0..text.len() * 8 {
            let mut other = text;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(hash(0, &other)), "bit {bit}");
        }
        for length in 0..text.len() {
            assert!(seen.insert(hash(0, &text[..length])), "length {length}");
        }
        for zeros in 0..100 {
            assert!(seen.insert(hash(0, &[0; 100][..zeros])) || zeros == 0);
        }
        // Words that change their places, in one lane and among them.
        for (left, right) in [(0, 8), (0, 24), (8, 40), (16, 64)] {
            let mut other = text;
            for byte in 0..8 {
                other.swap(left + byte, right + byte);
            }
            assert!(seen.insert(hash(0, &other)), "{left} and {right}");
        }
    }
}
