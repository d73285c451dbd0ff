//! Traces leave for an OTLP receiver over gRPC, the last of them at the flush. The receiver here is
//! bare HTTP/2: it keeps what it is sent and answers with gRPC's `OK`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::sync::mpsc::channel;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use telemetry::{LogFormat, LogSettings, TraceSettings};
use tokio::net::TcpListener;

/// Longer than an export takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gRPC frame: not compressed, no bytes.
const EMPTY_MESSAGE: Bytes = Bytes::from_static(&[0; 5]);

#[test]
fn spans_reach_the_receiver_before_the_flush_is_over() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (sender, received) = channel();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(move |request: Request<Incoming>| {
            let sender = sender.clone();
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                sender.send((path, body)).unwrap();
                let answer = Response::builder()
                    .header("content-type", "application/grpc")
                    .body(Full::new(EMPTY_MESSAGE).with_trailers(async {
                        let ok = HeaderMap::from_iter([(
                            HeaderName::from_static("grpc-status"),
                            HeaderValue::from_static("0"),
                        )]);
                        Some(Ok::<_, Infallible>(ok))
                    }))
                    .unwrap();
                Ok::<_, Infallible>(answer)
            }
        });
        let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        served
            .serve_connection(TokioIo::new(stream), service)
            .await
            .ok();
    });

    let telemetry = {
        let _inside = runtime.enter();
        let logs = LogSettings {
            filter: "info".to_owned(),
            format: LogFormat::Json,
            colours: false,
        };
        let traces = TraceSettings {
            endpoint,
            service: "gateway",
            version: "1.2.3",
        };
        telemetry::init(&logs, Some(&traces)).unwrap()
    };
    tracing::info_span!("a call that is traced", tool = "my.tool").in_scope(|| {});
    telemetry.flush();

    let (path, body) = received.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        path,
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    );
    // Protobuf keeps texts as they are.
    let text = String::from_utf8_lossy(&body);
    for part in [
        "a call that is traced",
        "my.tool",
        "gateway",
        "service.version",
        "1.2.3",
    ] {
        assert!(text.contains(part), "{part} is not in what was sent");
    }
}
