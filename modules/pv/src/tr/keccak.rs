//! The Keccak sponge (FIPS 202), for `{s.sha3}` and `{s.keccak}`: they differ in the padding only.

/// The digest of `input`, `out_len` bytes long; `pad` is 0x06 for SHA-3, 0x01 for Keccak.
pub(crate) fn sponge(input: &[u8], out_len: usize, pad: u8) -> Vec<u8> {
    let rate = 200 - 2 * out_len;
    let mut padded = input.to_vec();
    padded.push(pad);
    padded.resize(padded.len().next_multiple_of(rate), 0);
    if let Some(last) = padded.last_mut() {
        *last |= 0x80;
    }
    let mut state = [0u64; 25];
    for block in padded.chunks_exact(rate) {
        for (lane, bytes) in state.iter_mut().zip(block.chunks_exact(8)) {
            *lane ^= bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        }
        keccak(&mut state);
    }
    state
        .iter()
        .flat_map(|l| l.to_le_bytes())
        .take(out_len)
        .collect()
}

/// The permutation Keccak-f[1600] (FIPS 202 §3.2, §3.3).
fn keccak(a: &mut [u64; 25]) {
    let mut lfsr = 1u8;
    for _ in 0..24 {
        // θ
        let c: [u64; 5] =
            std::array::from_fn(|x| a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20]);
        for (i, lane) in a.iter_mut().enumerate() {
            let x = i % 5;
            *lane ^= c[(x + 4) % 5] ^ c[(x + 1) % 5].rotate_left(1);
        }
        // ρ and π
        let (mut x, mut y, mut last) = (1, 0, a[1]);
        for t in 0..24u32 {
            (x, y) = (y, (2 * x + 3 * y) % 5);
            let lane = &mut a[x + 5 * y];
            (*lane, last) = (last.rotate_left(((t + 1) * (t + 2) / 2) % 64), *lane);
        }
        // χ
        for row in a.chunks_exact_mut(5) {
            let old: [u64; 5] = std::array::from_fn(|x| row[x]);
            for (x, lane) in row.iter_mut().enumerate() {
                *lane = old[x] ^ (!old[(x + 1) % 5] & old[(x + 2) % 5]);
            }
        }
        // ι
        for j in 0..7 {
            if lfsr & 1 != 0 {
                a[0] ^= 1 << ((1u32 << j) - 1);
            }
            lfsr = lfsr << 1 ^ if lfsr & 0x80 != 0 { 0x71 } else { 0 };
        }
    }
}
