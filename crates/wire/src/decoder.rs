//! From bytes back to messages.

use crate::{CHECKSUM, MAX_MESSAGE, MAX_STUFFED};

/// Cuts a byte stream into frames and checks them.
///
/// It holds at most one frame (never more than [`MAX_FRAME`](crate::MAX_FRAME) bytes), takes the stream
/// in pieces of any size, and is in step again at the first zero after anything it cannot read.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    dropped: Dropped,
}

/// What the bytes since the last zero are.
#[derive(Debug)]
enum State {
    /// The beginning of a frame.
    Collecting(Vec<u8>),
    /// Longer than any frame; reported already, thrown away up to the next zero.
    Skipping,
}

/// What a [`Decoder`] threw away.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Runs of bytes between zeros that were no frame, or whose message could not be read.
    pub frames: u64,
    /// The bytes in them.
    pub bytes: u64,
}

/// Why something between two zeros was dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More bytes without a zero than the longest frame has.
    #[error("no frame: more than {MAX_STUFFED} bytes without an end")]
    TooLong,
    /// The stuffing does not add up, or there is no room for a checksum: a torn frame or garbage.
    #[error("no frame: {bytes} bytes that do not unstuff")]
    Torn {
        /// Bytes dropped.
        bytes: usize,
    },
    /// Unstuffed, but the checksum is wrong.
    #[error("damaged frame: the checksum of its {bytes} bytes is wrong")]
    Checksum {
        /// Bytes of the message.
        bytes: usize,
    },
    /// A whole frame whose message is not of the expected type.
    #[error("unreadable message")]
    Message(#[from] prost::DecodeError),
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was thrown away so far.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Takes bytes from the front of `input` up to the end of the next frame and gives the message in
    /// it, still encoded; `None` when `input` is used up.
    ///
    /// # Errors
    /// Each [`FrameError`] but [`FrameError::Message`], once for each thing that was dropped; the
    /// decoder is usable after any of them.
    pub fn take_frame(&mut self, input: &mut &[u8]) -> Option<Result<Vec<u8>, FrameError>> {
        while !input.is_empty() {
            let Some(end) = input.iter().position(|byte| *byte == 0) else {
                let rest = std::mem::take(input);
                return self.state.collect(rest, &mut self.dropped).err().map(Err);
            };
            let (last, rest) = input.split_at(end);
            *input = rest.get(1..).unwrap_or_default();
            let collected = self.state.collect(last, &mut self.dropped);
            let whole = std::mem::take(&mut self.state);
            match (collected, whole) {
                (Err(error), _) => return Some(Err(error)),
                // Two zeros in a row: the end of one frame and the start of the next.
                (Ok(()), State::Collecting(frame)) if frame.is_empty() => {}
                (Ok(()), State::Skipping) => {}
                (Ok(()), State::Collecting(frame)) => {
                    let bytes = frame.len();
                    return Some(open(frame).inspect_err(|_| self.dropped.count(bytes)));
                }
            }
        }
        None
    }

    /// [`Decoder::take_frame`], and the message read.
    ///
    /// # Errors
    /// Each [`FrameError`], as there.
    pub fn take_message<M: prost::Message + Default>(
        &mut self,
        input: &mut &[u8],
    ) -> Option<Result<M, FrameError>> {
        let frame = self.take_frame(input)?;
        Some(frame.and_then(|bytes| {
            M::decode(bytes.as_slice()).map_err(|error| {
                self.dropped.count(bytes.len());
                FrameError::Message(error)
            })
        }))
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Collecting(Vec::new())
    }
}

impl State {
    /// Adds bytes that contain no zero.
    fn collect(&mut self, bytes: &[u8], dropped: &mut Dropped) -> Result<(), FrameError> {
        let Self::Collecting(frame) = self else {
            dropped.bytes += bytes.len() as u64;
            return Ok(());
        };
        let wanted = frame.len() + bytes.len();
        if wanted > MAX_STUFFED {
            dropped.count(wanted);
            *self = Self::Skipping;
            return Err(FrameError::TooLong);
        }
        if wanted > frame.capacity() {
            // Doubling, but not past the bound.
            let capacity = wanted.max(2 * frame.capacity()).min(MAX_STUFFED);
            frame.reserve_exact(capacity - frame.len());
        }
        frame.extend_from_slice(bytes);
        Ok(())
    }
}

impl Dropped {
    fn count(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }
}

/// Unstuffs and checks what stood between two zeros.
fn open(mut frame: Vec<u8>) -> Result<Vec<u8>, FrameError> {
    let torn = FrameError::Torn { bytes: frame.len() };
    let Ok(plain) = cobs::decode_in_place(&mut frame) else {
        return Err(torn);
    };
    frame.truncate(plain);
    let Some((checksum, message)) = frame.split_first_chunk::<CHECKSUM>() else {
        return Err(torn);
    };
    if crc32fast::hash(message) != u32::from_le_bytes(*checksum) {
        return Err(FrameError::Checksum { bytes: message.len() });
    }
    debug_assert!(message.len() <= MAX_MESSAGE);
    frame.drain(..CHECKSUM);
    Ok(frame)
}
