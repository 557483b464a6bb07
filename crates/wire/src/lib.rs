//! Frames between the host's daemon and the agent in the guest.
//!
//! A frame is `0x00 COBS(crc32 ‖ message) 0x00`: a prost message behind its CRC-32 (IEEE, four bytes,
//! little endian), stuffed so that it contains no zero, between two zeros. Nothing in it says how long
//! it is. That is the point: the byte stream of a virtio-serial port goes on, without an end of file,
//! while live migration changes the process at its host end, so a reader may meet half a frame followed
//! by another writer's frame at any time. A reader that trusted a length would then wait for ever; this
//! one drops what does not check and is in step again at the next zero. The zero *before* a frame closes
//! whatever a torn frame left open, so at most the torn frame is lost.
//!
//! Both sides also ask who is there by Ethernet frames of the same kinds: [`ethernet`]. What the agent asks a reflector, and what that
//! answers, is here too: [`reflect`].
//!
//! The crate does no I/O and has no clock; whoever owns the stream feeds it. It must not know what the
//! messages mean.
//!
//! ```
//! use godwit_wire::{Decoder, encode};
//!
//! // Any prost message will do; `u64` is prost's own for `google.protobuf.UInt64Value`.
//! let mut stream = encode(&7_u64)?;
//! stream.splice(0..0, *b"left over from the host before");
//!
//! let mut decoder = Decoder::new();
//! let mut input = stream.as_slice();
//! assert!(decoder.take_message::<u64>(&mut input).unwrap().is_err());
//! assert_eq!(decoder.take_message::<u64>(&mut input).unwrap(), Ok(7));
//! assert_eq!(decoder.take_message::<u64>(&mut input), None);
//! # Ok::<(), godwit_wire::TooLong>(())
//! ```
#![forbid(unsafe_code)]

mod decoder;
pub mod ethernet;
mod mac;
pub mod reflect;

pub use decoder::{Decoder, Dropped, FrameError};
pub use mac::{Mac, NotAMac};

/// The longest message that a frame carries, in bytes (64 KiB), in both directions.
///
/// The longest real one, an agent's list of 64 pairs, needs about two thirds of it.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The longest frame on the wire, in bytes, its two zeros included: [`MAX_MESSAGE`], the checksum, and
/// one byte in 254 for COBS.
pub const MAX_FRAME: usize = MAX_STUFFED + 2;

const CHECKSUM: usize = 4;
const MAX_STUFFED: usize = cobs::max_encoding_length(MAX_MESSAGE + CHECKSUM);

/// The message does not fit a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {bytes} bytes is longer than a frame carries ({MAX_MESSAGE})")]
pub struct TooLong {
    /// Encoded size of the message.
    pub bytes: usize,
}

/// Makes the frame of one message, ready to be written.
///
/// # Errors
/// [`TooLong`] when the message has more than [`MAX_MESSAGE`] bytes.
pub fn encode<M: prost::Message>(message: &M) -> Result<Vec<u8>, TooLong> {
    let bytes = message.encoded_len();
    if bytes > MAX_MESSAGE {
        return Err(TooLong { bytes });
    }
    let message = message.encode_to_vec();
    let mut plain = Vec::with_capacity(CHECKSUM + bytes);
    plain.extend_from_slice(&crc32fast::hash(&message).to_le_bytes());
    plain.extend_from_slice(&message);
    // Not cobs::encode_vec_including_sentinels: in 0.5.1 it leaves zeros too many at the end.
    let mut frame = vec![0; cobs::max_encoding_length(plain.len()) + 2];
    let length = cobs::encode_including_sentinels(&plain, &mut frame);
    frame.truncate(length);
    Ok(frame)
}
