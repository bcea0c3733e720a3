//! The stable 64-bit hash: experiment assignment, sampling and sketches depend on it for ever.
//! Not for secrets (the key is public) and not for hash maps (std's keyed hasher resists flooding).

/// First half of the SipHash key: the ASCII bytes `rapport-`, little endian.
const KEY_LOW: u64 = u64::from_le_bytes(*b"rapport-");
/// Second half of the SipHash key: the ASCII bytes `hash.v01`, little endian.
const KEY_HIGH: u64 = u64::from_le_bytes(*b"hash.v01");

/// Computes the stable hash of a list of byte strings.
///
/// The algorithm never changes, so any language can compute it: SipHash-2-4 with the 16-byte key
/// `rapport-hash.v01` over, for each part in order, its length as 8 little-endian bytes and then
/// its bytes. The length prefix keeps `["ab", "c"]` and `["a", "bc"]` apart.
///
/// * Returns all of `u64` with equal likelihood; take the high bits or a wide modulus for buckets.
/// * Cost: `O(bytes)`, no allocation.
/// * Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012.
#[must_use]
pub fn stable_hash64(parts: &[&[u8]]) -> u64 {
    let mut sip = Sip::new(KEY_LOW, KEY_HIGH);
    for part in parts {
        sip.write(&(part.len() as u64).to_le_bytes());
        sip.write(part);
    }
    sip.finish()
}

/// SipHash-2-4 over a stream of bytes.
struct Sip {
    v: [u64; 4],
    /// Bytes not yet absorbed, the earliest in the lowest byte.
    tail: u64,
    /// How many bytes of `tail` are filled: 0 to 7.
    tail_bytes: u32,
    length: u64,
}

impl Sip {
    /// Starts from a key; the constants spell "somepseudorandomlygeneratedbytes" (section 2 of the paper).
    fn new(low: u64, high: u64) -> Self {
        let v = [
            low ^ 0x736f_6d65_7073_6575,
            high ^ 0x646f_7261_6e64_6f6d,
            low ^ 0x6c79_6765_6e65_7261,
            high ^ 0x7465_6462_7974_6573,
        ];
        Self {
            v,
            tail: 0,
            tail_bytes: 0,
            length: 0,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.tail |= u64::from(byte) << (8 * self.tail_bytes);
            self.tail_bytes += 1;
            if self.tail_bytes == 8 {
                self.absorb(self.tail);
                (self.tail, self.tail_bytes) = (0, 0);
            }
        }
        self.length = self.length.wrapping_add(bytes.len() as u64);
    }

    fn finish(mut self) -> u64 {
        self.absorb(self.tail | (self.length << 56));
        self.v[2] ^= 0xff;
        for _ in 0..4 {
            self.round();
        }
        self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3]
    }

    fn absorb(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.round();
        self.v[0] ^= word;
    }

    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.v;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.v = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hashes `bytes` under the key 00 01 .. 0f, the key of the paper's test vectors.
    fn paper(bytes: &[u8]) -> u64 {
        let mut sip = Sip::new(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        sip.write(bytes);
        sip.finish()
    }

    #[test]
    fn matches_the_vectors_of_the_paper() {
        let input: Vec<u8> = (0..15).collect();
        assert_eq!(paper(&input), 0xa129_ca61_49be_45e5); // appendix A
        assert_eq!(paper(&[]), 0x726f_db47_dd0e_0e31); // first of the reference vectors
    }

    #[test]
    fn never_changes() {
        assert_eq!(stable_hash64(&[]), 0x337e_8e3e_cb19_ed21);
        assert_eq!(stable_hash64(&[b"rapport"]), 0x3557_bc21_6209_a5ab);
        assert_eq!(
            stable_hash64(&[b"checkout", &[7; 16]]),
            0x64c4_4032_e3d8_e4cd
        );
    }

    proptest! {
        #[test]
        fn parts_do_not_run_together(bytes in prop::collection::vec(any::<u8>(), 1..40), at in 0usize..40) {
            let (left, right) = bytes.split_at(at % bytes.len());
            prop_assert_ne!(stable_hash64(&[&bytes]), stable_hash64(&[left, right]));
        }

        #[test]
        fn any_flipped_bit_changes_the_hash(bytes in prop::collection::vec(any::<u8>(), 1..40), bit in 0usize..320) {
            let mut other = bytes.clone();
            other[(bit / 8) % bytes.len()] ^= 1 << (bit % 8);
            prop_assert_ne!(stable_hash64(&[&bytes]), stable_hash64(&[&other]));
        }
    }
}
