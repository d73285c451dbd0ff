//! A caller that sends what our client never would.

use std::net::SocketAddr;

use bytes::Bytes;
use futures::Stream;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// Catalog.Delete, Catalog.Get and the beginning of most requests: tenant and name.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Named {
    #[prost(string, tag = "1")]
    pub(crate) tenant: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
}

/// Any answer: nothing of it is read.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Anything {}

pub(crate) async fn connect(address: SocketAddr) -> Channel {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// Sends one message with these headers.
pub(crate) async fn unary(
    channel: &Channel,
    path: &'static str,
    headers: &[(&'static str, String)],
    message: impl Message + 'static,
) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<_, Anything>::default();
    let request = with(headers, message);
    grpc.unary(request, PathAndQuery::from_static(path), codec)
        .await
        .map(drop)
}

/// Starts a stream both ways.
pub(crate) async fn streaming<M: Message + 'static>(
    channel: &Channel,
    path: &'static str,
    headers: &[(&'static str, String)],
    messages: impl Stream<Item = M> + Send + 'static,
) -> Result<Streaming<Anything>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<M, Anything>::default();
    let request = with(headers, messages);
    grpc.streaming(request, PathAndQuery::from_static(path), codec)
        .await
        .map(tonic::Response::into_inner)
}

fn with<T>(headers: &[(&'static str, String)], message: T) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// The code of our own error in a status.
pub(crate) fn reason(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    status
        .get_details_error_info()
        .map_or_else(String::new, |info| info.reason)
}

/// The bytes of a message that are signed.
pub(crate) fn bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}
