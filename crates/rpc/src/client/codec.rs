//! Requests that are encoded already, because their bytes were signed.

use std::marker::PhantomData;

use bytes::{BufMut, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// Sends bytes, reads messages of type `A`.
#[derive(Debug)]
pub(crate) struct Signed<A>(PhantomData<A>);

impl<A> Default for Signed<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<A: Message + Default + Send + 'static> Codec for Signed<A> {
    type Encode = Bytes;
    type Decode = A;
    type Encoder = AsTheyAre;
    type Decoder = ProstDecoder<A>;

    fn encoder(&mut self) -> AsTheyAre {
        AsTheyAre
    }

    fn decoder(&mut self) -> ProstDecoder<A> {
        ProstDecoder::default()
    }
}

/// Puts bytes into the frame as they are.
#[derive(Debug)]
pub(crate) struct AsTheyAre;

impl Encoder for AsTheyAre {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, bytes: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(bytes);
        Ok(())
    }
}
