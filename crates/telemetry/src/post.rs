//! A small HTTP client for what this crate sends: spans over HTTP and error reports.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Posts with a deadline, over http or https with the system's trusted certificates.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    within: Duration,
    /// Where connections live: spans are sent from a thread of OpenTelemetry's own.
    runtime: Handle,
}

impl Post {
    /// Within a runtime only.
    ///
    /// # Errors
    /// The system has no trusted certificates.
    pub(crate) fn new(within: Duration) -> std::io::Result<Self> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            within,
            runtime: Handle::current(),
        })
    }

    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let asked = self.client.request(request.map(Full::new));
        let answer = async {
            let (parts, body) = asked.await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(parts, body))
        };
        tokio::time::timeout(self.within, answer).await?
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let post = self.clone();
        self.runtime
            .spawn(async move { post.send(request).await })
            .await?
    }
}
