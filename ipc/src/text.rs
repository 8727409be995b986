//! Texts in shared words: whole at rest, and while they change at worst odd, never unsafe.
//!
//! The first word is the length of the text as it was given; of longer ones the beginning is kept.

use olelo_mem::atomic::{AtomicU64, Ordering};

/// Words that a text of at most `most` bytes takes.
pub const fn words(most: usize) -> usize {
    1 + most.div_ceil(8)
}

/// Keeps at most `most` bytes of a text, and its whole length.
pub fn put(at: &[AtomicU64], most: usize, text: &[u8]) {
    let Some((len, words)) = at.split_first() else {
        return;
    };
    let (whole, rest) = text[..text.len().min(most)].as_chunks::<8>();
    for (word, chunk) in words.iter().zip(whole) {
        word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
    if let (Some(word), false) = (words.get(whole.len()), rest.is_empty()) {
        let mut w = [0u8; 8];
        w[..rest.len()].copy_from_slice(rest);
        word.store(u64::from_le_bytes(w), Ordering::Relaxed);
    }
    len.store(text.len() as u64, Ordering::Relaxed);
}

/// The whole length of a text, and the bytes of it that were kept.
pub fn get(at: &[AtomicU64], most: usize) -> (usize, Vec<u8>) {
    let Some((len, words)) = at.split_first() else {
        return (0, Vec::new());
    };
    let whole_len = len.load(Ordering::Relaxed) as usize;
    let bytes = words
        .iter()
        .flat_map(|w| w.load(Ordering::Relaxed).to_le_bytes())
        .take(whole_len.min(most))
        .collect();
    (whole_len, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_as_far_as_it_was_kept() {
        let room: Vec<AtomicU64> = (0..words(20)).map(|_| AtomicU64::new(7)).collect();
        for text in ["", "a", "12345678", "INVITE sip:a@b SIP/2.0"] {
            put(&room, 20, text.as_bytes());
            let kept = &text.as_bytes()[..text.len().min(20)];
            assert_eq!(get(&room, 20), (text.len(), kept.to_vec()));
        }
    }
}
