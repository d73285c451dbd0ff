//! The layer in front of a service that says whom it sees.

use std::convert::Infallible;

use domain::{CallContext, Principal, RequestId, Scope};
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tower::ServiceExt as _;

use super::super::{Audience, HEADER, Signer, SigningKey, VerifyKeys};
use super::*;

const PATH: &str = "/service/Method";

#[derive(Clone)]
struct Rules;

/// What a connection says of a service that may not do this.
#[derive(Clone)]
struct Stranger;

impl Policy for Rules {
    type Body = String;

    fn access(&self, path: &str) -> Access {
        match path {
            PATH => Access::Signed {
                max_message_bytes: 100,
                once: true,
            },
            _ => Access::Open,
        }
    }

    fn service(
        &self,
        _path: &str,
        extensions: &Extensions,
        _issuer: Option<&str>,
    ) -> Result<Option<Arc<str>>> {
        match extensions.get::<Stranger>() {
            Some(Stranger) => Err(Error::new(ErrorCode::PermissionDenied, "not yours")),
            None => Ok(Some(Arc::from("friend"))),
        }
    }

    fn refuse(&self, path: &str, error: &Error) -> Response<String> {
        Response::new(format!("{path} {}", error.code()))
    }
}

type TestBody =
    StreamBody<stream::BoxStream<'static, std::result::Result<Frame<Bytes>, Infallible>>>;

async fn echo(
    request: Request<Replayed<TestBody>>,
) -> std::result::Result<Response<String>, Infallible> {
    let caller = request
        .extensions()
        .get::<Caller>()
        .map(|caller| caller.principal.subject.clone());
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(format!("{caller:?} {body:?}")))
}

struct Setup {
    layer: IdentityLayer<Rules>,
    signer: Signer,
}

fn setup() -> Setup {
    let key = Arc::new(SigningKey::generate().unwrap());
    let verifier = Arc::new(Verifier::new(VerifyKeys::of(&key), Audience::Registry));
    Setup {
        layer: IdentityLayer::new(verifier, Rules),
        signer: Signer::new(key, Audience::Registry),
    }
}

impl Setup {
    async fn send(&self, request: Request<TestBody>) -> String {
        let service = self.layer.layer(tower::service_fn(echo));
        service.oneshot(request).await.unwrap().into_body()
    }

    fn signed(&self, message: &[u8], body: TestBody) -> Request<TestBody> {
        let context = CallContext::new(
            Arc::new(Principal::anonymous(&[Scope::Invoke])),
            RequestId::random(),
            Duration::from_secs(1),
        );
        let token = self.signer.sign(&context, PATH, message).unwrap();
        Request::post(PATH)
            .header(HEADER, token)
            .body(body)
            .unwrap()
    }
}

fn chunks(chunks: &[&[u8]]) -> TestBody {
    let frames: Vec<_> = chunks
        .iter()
        .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))))
        .collect();
    StreamBody::new(Box::pin(stream::iter(frames)))
}

fn forged() -> Caller {
    Caller {
        principal: Arc::new(Principal::service("forged")),
        call_id: domain::CallId::random(),
        service: None,
    }
}

#[tokio::test]
async fn the_caller_is_known_and_the_body_is_whole() {
    let setup = setup();
    let body = chunks(&[&[0, 0, 0], &[0, 2, b'h'], b"i+more"]);
    let answer = setup.send(setup.signed(b"hi", body)).await;
    assert_eq!(answer, r#"Some("anonymous") b"\0\0\0\0\x02hi+more""#);
}

#[tokio::test]
async fn without_an_identity_the_service_is_not_reached() {
    let setup = setup();
    let request = Request::post(PATH).body(chunks(&[b"\0\0\0\0\0"])).unwrap();
    assert_eq!(setup.send(request).await, "/service/Method unauthenticated");
}

#[tokio::test]
async fn a_service_that_may_not_do_this_does_not_reach_it_with_a_good_identity() {
    let setup = setup();
    let mut request = setup.signed(b"hi", chunks(&[&[0, 0, 0, 0, 2], b"hi"]));
    request.extensions_mut().insert(Stranger);
    assert_eq!(
        setup.send(request).await,
        "/service/Method permission_denied"
    );
}

#[tokio::test]
async fn an_open_path_has_no_caller_whatever_the_request_claims() {
    let setup = setup();
    let mut request = Request::post("/open").body(chunks(&[b"x"])).unwrap();
    request.extensions_mut().insert(forged());
    assert_eq!(setup.send(request).await, r#"None b"x""#);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_come_is_given_up() {
    let setup = setup();
    let started = stream::iter([Ok(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 9, 1])))]);
    let body = StreamBody::new(futures::StreamExt::boxed(futures::StreamExt::chain(
        started,
        stream::pending(),
    )));
    let start = tokio::time::Instant::now();
    let answer = setup.send(setup.signed(b"", body)).await;
    assert_eq!(answer, "/service/Method timeout");
    assert_eq!(start.elapsed(), FIRST_MESSAGE_WITHIN);
}
