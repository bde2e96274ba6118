//! The frames of an HTTP/2 connection as they pass (RFC 9113, section 4.1): kind, flags, stream and length of each.
//! Nothing of a payload is kept.

/// DATA.
pub const DATA: u8 = 0;
/// HEADERS.
pub const HEADERS: u8 = 1;
/// RST_STREAM.
pub const RST_STREAM: u8 = 3;
/// GOAWAY.
pub const GOAWAY: u8 = 7;
/// CONTINUATION.
pub const CONTINUATION: u8 = 9;
/// On DATA and HEADERS: the sender has nothing more to say on this stream.
pub const END_STREAM: u8 = 0x1;
/// On HEADERS and CONTINUATION: the header block is complete.
pub const END_HEADERS: u8 = 0x4;

const HEAD_BYTES: usize = 9;

/// What a frame's head says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Bytes of payload.
    pub length: u32,
    /// Kind of frame.
    pub kind: u8,
    /// Flags, by kind.
    pub flags: u8,
    /// The stream; 0: the connection.
    pub stream: u32,
}

impl Head {
    fn parse(bytes: [u8; HEAD_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    /// Whether it carries this flag.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Follows one direction of a connection from its first frame on.
#[derive(Debug, Default)]
pub struct Scanner {
    head: [u8; HEAD_BYTES],
    /// Bytes of the next head that came.
    have: usize,
    /// Bytes of the current payload that did not come yet.
    left: usize,
    kind: u8,
}

impl Scanner {
    /// Goes through what passed, and tells each frame whose head became complete, with what came of its payload in
    /// the same piece.
    pub fn pass(&mut self, bytes: &[u8], mut seen: impl FnMut(Head, &[u8])) {
        let mut rest = bytes;
        loop {
            let (skipped, after) = rest.split_at(rest.len().min(self.left));
            self.left -= skipped.len();
            rest = after;
            if rest.is_empty() {
                return;
            }
            let (now, after) = rest.split_at(rest.len().min(HEAD_BYTES - self.have));
            for (to, from) in self.head.iter_mut().skip(self.have).zip(now) {
                *to = *from;
            }
            self.have += now.len();
            rest = after;
            if self.have < HEAD_BYTES {
                return;
            }
            let head = Head::parse(self.head);
            (self.have, self.kind) = (0, head.kind);
            self.left = usize::try_from(head.length).unwrap_or(usize::MAX);
            let (payload, _) = rest.split_at(rest.len().min(self.left));
            seen(head, payload);
        }
    }

    /// Whether a frame has begun and not ended.
    pub fn is_within(&self) -> bool {
        self.have > 0 || self.left > 0
    }

    /// Whether the payload of a DATA frame has begun and not ended.
    pub fn is_within_data(&self) -> bool {
        self.left > 0 && self.kind == DATA
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn frames_are_told_however_they_are_cut() {
        let bytes = [
            frame(HEADERS, END_HEADERS, 1, b"abc"),
            frame(DATA, 0, 1, b""),
            frame(DATA, END_STREAM, 0x8000_0003, &[7; 300]),
        ]
        .concat();
        let wanted = [(3, HEADERS, 1), (0, DATA, 1), (300, DATA, 3)];
        for size in [1, 2, 8, 9, 10, 13, bytes.len()] {
            let (mut scanner, mut seen) = (Scanner::default(), Vec::new());
            for piece in bytes.chunks(size) {
                scanner.pass(piece, |head, _| seen.push((head.length, head.kind, head.stream)));
            }
            assert_eq!(seen, wanted, "in pieces of {size}");
            assert!(!scanner.is_within());
            scanner.pass(&bytes[..5], |_, _| panic!("half a head"));
            assert!(scanner.is_within() && !scanner.is_within_data());
        }
        let mut scanner = Scanner::default();
        scanner.pass(&bytes[..bytes.len() - 1], |_, _| ());
        assert!(scanner.is_within_data());
    }
}
