//! Where the frames of an HTTP/2 connection end, without looking into them (RFC 9113 §4.1).

/// How a client's side begins (RFC 9113 §3.4), in bytes.
const PREFACE_BYTES: u32 = 24;
const HEADER_BYTES: usize = 9;
/// Types and a flag of frames (RFC 9113 §6.2, §6.10).
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// Follows the bytes of a client.
#[derive(Debug)]
pub(super) struct Frames {
    header: [u8; HEADER_BYTES],
    header_length: usize,
    /// Bytes of the present frame, or of the preface, that have not come.
    payload_left: u32,
    /// A header block was begun, and the frame that ends it has not come.
    in_header_block: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            header: [0; HEADER_BYTES],
            header_length: 0,
            payload_left: PREFACE_BYTES,
            in_header_block: false,
        }
    }
}

impl Frames {
    /// These bytes came.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let Some(byte) = bytes.first() {
            let payload = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
            let payload = payload.min(bytes.len());
            if payload > 0 {
                self.payload_left -= u32::try_from(payload).unwrap_or(self.payload_left);
                bytes = bytes.get(payload..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.header.get_mut(self.header_length) {
                *place = *byte;
            }
            self.header_length += 1;
            bytes = bytes.get(1..).unwrap_or_default();
            if self.header_length == HEADER_BYTES {
                self.header_length = 0;
                self.begin();
            }
        }
    }

    fn begin(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.payload_left = u32::from_be_bytes([0, high, middle, low]);
        if matches!(kind, HEADERS | CONTINUATION) {
            self.in_header_block = flags & END_HEADERS == 0;
        }
    }

    /// Whether a part of a frame or of a header block has come, and its end has not.
    pub(super) const fn is_unfinished(&self) -> bool {
        self.in_header_block || self.payload_left > 0 || self.header_length > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const OPEN_HEADERS: &[u8] = &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];
    const CONTINUED: &[u8] = &[0, 0, 1, 9, 0, 0, 0, 0, 1, 0x84];
    const CONTINUED_TO_ITS_END: &[u8] = &[0, 0, 1, 9, 4, 0, 0, 0, 1, 0x84];

    #[test]
    fn the_end_of_a_frame_is_found_however_it_is_chunked() {
        let whole = [PREFACE, SETTINGS, PING, PING].concat();
        for chunk in 1..whole.len() {
            let mut frames = Frames::default();
            whole.chunks(chunk).for_each(|chunk| frames.read(chunk));
            assert!(!frames.is_unfinished(), "{chunk}");
        }
        let mut frames = Frames::default();
        for length in [1, 23] {
            frames.read(&whole[..length]);
            assert!(frames.is_unfinished());
            frames = Frames::default();
        }
        frames.read(&[PREFACE, SETTINGS, &PING[..9]].concat());
        assert!(frames.is_unfinished());
        frames.read(&PING[9..]);
        assert!(!frames.is_unfinished());
    }

    #[test]
    fn a_header_block_ends_with_its_last_continuation() {
        let mut frames = Frames::default();
        frames.read(&[PREFACE, OPEN_HEADERS].concat());
        assert!(frames.is_unfinished());
        frames.read(CONTINUED);
        assert!(frames.is_unfinished());
        frames.read(CONTINUED_TO_ITS_END);
        assert!(!frames.is_unfinished());
    }
}
