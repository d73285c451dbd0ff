//! Row 27, and what else goes by the address of a client.

use axum::body::Body;
use axum::extract::ConnectInfo;
use gateway::http::{AddressRules, ServeSettings};
use http::Request;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::edge::rig::{Rig, legacy, settings};
use crate::edge::server::{answer, call, local, request, server_of};

fn nets(list: &[&str]) -> Vec<ipnet::IpNet> {
    list.iter().map(|net| net.parse().unwrap()).collect()
}

fn rig(trusted: &[&str], allowed: &[&str]) -> Rig {
    let mut settings = settings(true);
    settings.addresses = AddressRules::new(&nets(trusted), &nets(allowed));
    Rig::with(settings)
}

fn from(peer: &str, forwarded: Option<&str>, mut request: Request<Body>) -> Request<Body> {
    let peer: std::net::SocketAddr = peer.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    if let Some(forwarded) = forwarded {
        let value = forwarded.parse().unwrap();
        request.headers_mut().insert("x-forwarded-for", value);
    }
    request
}

fn get(path: &str) -> Request<Body> {
    let request = Request::get(path).header("host", "localhost");
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn row_27_an_address_outside_the_list_is_refused_and_cannot_be_chosen() {
    let rig = rig(&["10.0.0.0/8"], &["192.0.2.0/24", "2001:db8::/32"]);
    let ping = || legacy("ping", json!({}));
    for (peer, forwarded, status) in [
        ("192.0.2.7:1", None, 200),
        ("[::ffff:192.0.2.7]:1", None, 200),
        ("[2001:db8::7]:1", None, 200),
        ("198.51.100.7:1", None, 403),
        ("198.51.100.7:1", Some("192.0.2.7"), 403),
        ("10.0.0.1:1", Some("192.0.2.7"), 200),
        ("10.0.0.1:1", Some("192.0.2.7, 198.51.100.7"), 403),
        ("10.0.0.1:1", Some("192.0.2.7, nonsense"), 403),
        ("10.0.0.1:1", None, 403),
    ] {
        let answer = rig.answer(from(peer, forwarded, ping())).await;
        assert_eq!(answer.status.as_u16(), status, "{peer} {forwarded:?}");
        if status == 403 {
            assert_eq!(answer.json()["error"]["data"]["code"], "permission_denied");
            assert!(!answer.header("x-request-id").is_empty());
        }
    }
    // Probes come from where they come from; what tells more is for those who are listed.
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/health", 403),
        ("/metrics", 403),
    ] {
        let answer = rig.answer(from("198.51.100.7:1", None, get(path))).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn the_address_behind_a_proxy_is_the_one_that_is_recorded() {
    for (forwarded, source) in [(Some("203.0.113.9"), "203.0.113.9"), (None, "10.0.0.1")] {
        let rig = rig(&["10.0.0.0/8"], &[]);
        let echo = legacy("tools/call", json!({"name": "echo"}));
        rig.answer(from("10.0.0.1:1", forwarded, echo)).await;
        let last = rig.fake.last.lock().take().unwrap();
        assert_eq!(last.source, Some(source.parse().unwrap()));
    }
    // Forwarded (RFC 7239) is not read: whoever sets one header passes the other on unchecked.
    let rig = rig(&["10.0.0.0/8"], &[]);
    let mut echo = from(
        "10.0.0.1:1",
        None,
        legacy("tools/call", json!({"name": "echo"})),
    );
    let forwarded = "for=203.0.113.9".parse().unwrap();
    echo.headers_mut().insert("forwarded", forwarded);
    rig.answer(echo).await;
    let last = rig.fake.last.lock().take().unwrap();
    assert_eq!(last.source, Some("10.0.0.1".parse().unwrap()));
}

#[tokio::test]
async fn connections_of_one_address_are_bounded_and_those_of_a_proxy_are_not() {
    local(async {
        for (proxies, served) in [(&[][..], 2), (&["127.0.0.0/8"], 4)] {
            let serving = ServeSettings {
                max_connections: 4,
                max_connections_per_address: 2,
                addresses: AddressRules::new(&nets(proxies), &[]),
                ..ServeSettings::default()
            };
            let server = server_of(Rig::new(true), serving).await;
            let mut held = Vec::new();
            for number in 0..5 {
                let mut stream = server.connect().await;
                if number < served {
                    let call = request("", &call("echo"));
                    stream.write_all(call.as_bytes()).await.unwrap();
                    assert!(answer(&mut stream).await.contains("200 OK"));
                    held.push(stream);
                    continue;
                }
                let rest =
                    crate::edge::server::read(&mut stream, std::time::Duration::from_secs(2));
                assert_eq!(rest.await, "");
            }
            let limit = if served == 4 { "total" } else { "address" };
            let refused = &server.rig.metrics.http_connections_refused;
            assert_eq!(refused.with_label_values(&[limit]).get(), 5 - served);
            assert_eq!(server.rig.metrics.http_connections.get(), held.len() as i64);
        }
    })
    .await;
}
