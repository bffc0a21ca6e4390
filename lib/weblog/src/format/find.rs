//! Where a byte stands first in a text: 64 bytes are compared together, so that the length of a
//! field decides no branch.

use memchr::memchr;
use wide::u8x16;

/// Bytes that are compared together where there are so many.
const BLOCK: usize = 64;

/// As memchr, which is built for long texts; nearly all fields end within the first 64 bytes.
#[inline(always)]
pub fn find_byte(byte: u8, text: &[u8]) -> Option<usize> {
    let Some(block) = text.first_chunk() else {
        return find_in_short(byte, text);
    };
    match places(byte, block) {
        0 => memchr(byte, &text[BLOCK..]).map(|at| BLOCK + at),
        places => Some(places.trailing_zeros() as usize),
    }
}

/// As [`find_byte`], for a field that nearly always ends within 16 bytes.
#[inline(always)]
pub(super) fn find_near_byte(byte: u8, text: &[u8]) -> Option<usize> {
    match text.first_chunk().map(|block| places_in_part(byte, block)) {
        Some(places) if places != 0 => Some(places.trailing_zeros() as usize),
        _ => find_byte(byte, text),
    }
}

/// The places of a byte, a bit for each.
#[inline(always)]
fn places(byte: u8, block: &[u8; BLOCK]) -> u64 {
    let (parts, _) = block.as_chunks();
    let parts = parts.iter().enumerate();
    parts.fold(0, |places, (index, part)| {
        places | u64::from(places_in_part(byte, part)) << (index * 16)
    })
}

#[inline(always)]
fn places_in_part(byte: u8, part: &[u8; 16]) -> u32 {
    u8x16::new(*part).simd_eq(u8x16::splat(byte)).to_bitmask()
}

/// In fewer than 64 bytes.
fn find_in_short(byte: u8, text: &[u8]) -> Option<usize> {
    let (parts, rest) = text.as_chunks();
    for (index, part) in parts.iter().enumerate() {
        let places = places_in_part(byte, part);
        if places != 0 {
            return Some(index * 16 + places.trailing_zeros() as usize);
        }
    }
    match text.last_chunk() {
        // What this part has in common with the one before it is known to be something else.
        Some(last) if !rest.is_empty() => {
            let places = places_in_part(byte, last);
            (places != 0).then(|| text.len() - last.len() + places.trailing_zeros() as usize)
        }
        Some(_) => None,
        None => rest.iter().position(|&one| one == byte),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_byte_is_found_where_memchr_finds_it(
            text in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'!'), any::<u8>()], 0..140),
            begin in 0..140_usize,
            byte in prop_oneof![Just(b' '), Just(b'!'), Just(0xa0), any::<u8>()],
        ) {
            let text = &text[begin.min(text.len())..];
            prop_assert_eq!(find_byte(byte, text), memchr(byte, text));
            prop_assert_eq!(find_near_byte(byte, text), memchr(byte, text));
        }
    }
}
