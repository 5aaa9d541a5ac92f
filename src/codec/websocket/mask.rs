//! Masking: the same operation masks and unmasks (RFC 6455, section 5.3).

/// The size that the compiler turns into two vector instructions.
const BLOCK: usize = 32;

/// Applies `mask` to `bytes`. Their offset in the payload is a multiple of four.
#[inline]
pub(super) fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    let half = u64::from(u32::from_ne_bytes(mask));
    let wide = half << 32 | half;
    let (blocks, rest) = bytes.as_chunks_mut::<BLOCK>();
    for block in blocks {
        let (words, _) = block.as_chunks_mut();
        for word in words {
            xor(word, wide);
        }
    }
    let (words, rest) = rest.as_chunks_mut();
    for word in words {
        xor(word, wide);
    }
    for (byte, mask) in rest.iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= mask;
    }
}

#[inline]
fn xor(word: &mut [u8; 8], mask: u64) {
    *word = (u64::from_ne_bytes(*word) ^ mask).to_ne_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_masked_with_its_byte_of_the_mask() {
        let mask = [0x6d, 0xb6, 0x01, 0x80];
        for len in 0..200 {
            let plain: Vec<u8> = (0..len).collect();
            let mut masked = plain.clone();
            apply_mask(&mut masked, mask);
            for (at, (masked, plain)) in masked.iter().zip(&plain).enumerate() {
                assert_eq!(*masked, plain ^ mask[at % 4], "byte {at} of {len}");
            }
        }
    }
}
