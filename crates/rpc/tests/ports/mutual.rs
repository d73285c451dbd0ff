//! Mutual TLS: who gets in at all, who may call what, and certificates that change under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use auth::internal::{Audience, Signer, SigningKey, Verifier, VerifyKeys};
use domain::fleet::Fleet as _;
use domain::{Catalog as _, ErrorCode, Runner as _, Scope};
use futures::StreamExt as _;
use rpc::client::{CatalogClient, FleetClient, Link, RunnerClient};
use rpc::server::{Incoming, Server};
use rpc::{Certificates, Endpoint, Tls};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use testkit::certificates::{Authority, Leaf};
use testkit::{FakeCatalog, FakeFleet, FakeRunner, call, context, draft};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::setup::{Running, within};

fn roots(pems: &[&str]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for pem in pems {
        let found = CertificateDer::pem_slice_iter(pem.as_bytes());
        found.for_each(|one| roots.add(one.unwrap()).unwrap());
    }
    roots
}

fn chain(leaf: &Leaf) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes());
    found.map(Result::unwrap).collect()
}

fn key(leaf: &Leaf) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap()
}

fn certificates(leaf: &Leaf, authorities: &[&str]) -> Arc<Certificates> {
    let made = Certificates::new(&chain(leaf), &key(leaf), &roots(authorities));
    Arc::new(made.unwrap())
}

/// A server that plays registry and executor under the certificate of the executor.
struct World {
    authority: Authority,
    address: SocketAddr,
    gateway_key: Arc<SigningKey>,
    billing_key: Arc<SigningKey>,
    server: Running,
    shown: watch::Sender<Arc<Certificates>>,
}

impl World {
    async fn start() -> Self {
        let authority = Authority::new("services");
        let (gateway_key, billing_key) = (
            Arc::new(SigningKey::generate().unwrap()),
            Arc::new(SigningKey::generate().unwrap()),
        );
        let keys = format!(
            "{}\n[[keys]]\nissuer = \"billing\"\naudiences = [\"executor\"]\n\
             scopes = [\"mcp:invoke\"]\ntenants = [\"default\"]\npublic_key = \"\"\"{}\"\"\"\n",
            gateway_key.public_pem(),
            billing_key.public_pem()
        );
        let keys = VerifyKeys::parse(&keys).unwrap();
        let first = certificates(&authority.service("executor"), &[&authority.pem]);
        let (shown, current) = watch::channel(first);
        let server = Server::new(Arc::new(Verifier::new(keys, Audience::Executor)))
            .with_tls(Some(Tls::new(current)))
            .catalog(Arc::new(FakeCatalog::default()))
            .fleet(Arc::new(FakeFleet::default()))
            .runner(Arc::new(FakeRunner::answering("1")));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            authority,
            address: listener.local_addr().unwrap(),
            gateway_key,
            billing_key,
            server: Running::start(server, Incoming::Tcp(listener)),
            shown,
        }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::parse("test", &format!("https://{}", self.address)).unwrap()
    }

    /// A link that shows this certificate and signs with this key.
    fn link(&self, shown: &Arc<Certificates>, key: &Arc<SigningKey>, to: Audience) -> Link {
        let (_, current) = watch::channel(Arc::clone(shown));
        let signer = Signer::new(Arc::clone(key), to);
        Link::over_tls(&self.endpoint(), signer, Some(Tls::new(current))).unwrap()
    }

    fn of(&self, service: &str, key: &Arc<SigningKey>) -> Link {
        let leaf = self.authority.service(service);
        let shown = certificates(&leaf, &[&self.authority.pem]);
        self.link(&shown, key, Audience::Executor)
    }

    /// Opens a connection as a client of no make, and says whether the server speaks to it.
    async fn is_let_in(&self, leaf: Option<&Leaf>) -> bool {
        let builder = ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(&[&self.authority.pem]));
        let mut config = match leaf {
            Some(leaf) => builder
                .with_client_auth_cert(chain(leaf), key(leaf))
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let Ok(mut stream) = connector.connect(name, stream).await else {
            return false;
        };
        // The preface and empty SETTINGS; whoever is let in gets SETTINGS back.
        let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        if stream.write_all(hello).await.is_err() {
            return false;
        }
        let mut byte = [0];
        matches!(
            within(5, stream.read(&mut byte)).await,
            Ok(read) if read > 0
        )
    }
}

#[tokio::test]
async fn a_gateway_with_its_certificate_and_its_key_is_served() {
    let world = World::start().await;
    let link = world.of("gateway", &world.gateway_key);
    let admin = context(&[Scope::Admin]);
    let catalog = CatalogClient::new(link.clone());
    catalog.create(&admin, draft("abc")).await.unwrap();
    let run = RunnerClient::new(link).run(&admin, call("")).await;
    assert_eq!(run.unwrap().collect::<Vec<_>>().await.len(), 2);
}

#[tokio::test]
async fn row_99_only_certificates_of_our_authority_that_name_a_service_are_let_in() {
    let world = World::start().await;
    let ours = &world.authority;
    let gateway = "spiffe://dynamic-mcp/service/gateway";
    assert!(world.is_let_in(Some(&ours.service("gateway"))).await);
    assert!(!world.is_let_in(None).await, "no certificate");
    let stranger = Authority::new("services").service("gateway");
    assert!(!world.is_let_in(Some(&stranger)).await, "another authority");
    assert!(
        !world.is_let_in(Some(&ours.leaf(&[gateway], 2020))).await,
        "expired"
    );
    for uris in [
        &[][..],
        &["spiffe://other/service/gateway"],
        &["https://dynamic-mcp/service/gateway"],
        &["spiffe://dynamic-mcp/service/"],
        &["spiffe://dynamic-mcp/service/gateway/x"],
        &["spiffe://dynamic-mcp/service/Gateway"],
        &[gateway, "spiffe://dynamic-mcp/service/executor"],
    ] {
        let leaf = ours.leaf(uris, 2040);
        assert!(!world.is_let_in(Some(&leaf)).await, "{uris:?}");
    }
    // Other names beside ours do no harm.
    let more = ours.leaf(&["https://example.com/", gateway], 2040);
    assert!(world.is_let_in(Some(&more)).await);
}

#[tokio::test]
async fn a_client_speaks_to_the_service_it_means_and_to_no_other() {
    let world = World::start().await;
    let leaf = world.authority.service("gateway");
    let admin = context(&[Scope::Admin]);
    let code = async |link: Link| {
        let refused = CatalogClient::new(link).create(&admin, draft("abc")).await;
        refused.unwrap_err().code()
    };
    // The server is an executor.
    let shown = certificates(&leaf, &[&world.authority.pem]);
    let registry = world.link(&shown, &world.gateway_key, Audience::Registry);
    assert_eq!(code(registry).await, ErrorCode::Unavailable);
    // It has another authority than the one that is trusted.
    let other = certificates(&leaf, &[&Authority::new("other").pem]);
    let distrusting = world.link(&other, &world.gateway_key, Audience::Executor);
    assert_eq!(code(distrusting).await, ErrorCode::Unavailable);
    // Without certificates there is not even a link.
    let signer = Signer::new(Arc::clone(&world.gateway_key), Audience::Executor);
    let refused = Link::new(&world.endpoint(), signer).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn rows_99_and_102_a_certificate_opens_its_own_methods_and_only_with_its_own_key() {
    let world = World::start().await;
    let admin = context(&[Scope::Admin]);
    let invoke = context(&[Scope::Invoke]);
    let create = async |link: &Link| {
        let catalog = CatalogClient::new(link.clone());
        let made = catalog.create(&admin, draft("abc")).await;
        made.map(drop).map_err(|error| error.code())
    };
    let leave = async |link: &Link| {
        let left = FleetClient::new(link.clone());
        let service = domain::CallContext::service("x", Duration::from_secs(5));
        left.leave(&service, "x")
            .await
            .map_err(|error| error.code())
    };
    let run = async |link: &Link| {
        let run = RunnerClient::new(link.clone()).run(&invoke, call("")).await;
        run.map(drop).map_err(|error| error.code())
    };
    let denied = Err(ErrorCode::PermissionDenied);
    let (plain, listed) = (&world.gateway_key, &world.billing_key);

    let executor = world.of("executor", plain);
    assert_eq!(create(&executor).await, denied);
    assert_eq!(run(&executor).await, denied);
    assert_eq!(leave(&executor).await, Ok(()));

    let gateway = world.of("gateway", plain);
    assert_eq!(leave(&gateway).await, denied);
    assert_eq!(run(&gateway).await, Ok(()));

    let registry = world.of("registry", plain);
    assert_eq!(
        (create(&registry).await, run(&registry).await),
        (denied, denied)
    );

    let billing = world.of("billing", listed);
    assert_eq!(run(&billing).await, Ok(()));
    assert_eq!(leave(&billing).await, denied);
    assert_eq!(
        create(&billing).await,
        denied,
        "its key gives no such scope"
    );

    // A stolen certificate with another's key, and the other way round.
    for (certificate, key) in [("billing", plain), ("gateway", listed)] {
        let mixed = world.of(certificate, key);
        assert_eq!(run(&mixed).await, denied, "{certificate}");
    }
    // A certificate alone: a key that nobody knows.
    let nobody = Arc::new(SigningKey::generate().unwrap());
    let alone = world.of("gateway", &nobody);
    assert_eq!(run(&alone).await, Err(ErrorCode::Unauthenticated));
}

/// Both sides change certificates and authority, the authorities overlapping as they do in life,
/// while calls go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_103_certificates_change_under_load_and_no_call_fails() {
    let world = World::start().await;
    let (old, new) = (&world.authority, Authority::new("next"));
    let both = [old.pem.as_str(), new.pem.as_str()];
    let (change, current) = watch::channel(certificates(&old.service("gateway"), &both[..1]));
    let signer = Signer::new(Arc::clone(&world.gateway_key), Audience::Executor);
    let age = Some(Duration::from_millis(50));
    let tls = Some(Tls::new(current));
    let link = Link::renewed(&world.endpoint(), signer, tls, age).unwrap();
    let runner = RunnerClient::new(link);
    let (stop, stopped) = watch::channel(false);
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (runner, stopped) = (runner.clone(), stopped.clone());
        load.spawn(async move {
            let mut calls = 0_u32;
            while !*stopped.borrow() {
                let run = runner.run(&context(&[Scope::Invoke]), call("")).await;
                let events: Vec<_> = run.unwrap().collect().await;
                assert_eq!(events.len(), 2, "{events:?}");
                calls += 1;
            }
            calls
        });
    }
    let pause = || tokio::time::sleep(Duration::from_millis(300));
    pause().await;
    for authorities in [&both[..], &both[1..]] {
        if authorities.len() == 2 {
            // First everybody trusts both, then everybody shows the new one.
            world
                .shown
                .send_replace(certificates(&old.service("executor"), &both));
            change.send_replace(certificates(&old.service("gateway"), &both));
            pause().await;
        }
        world
            .shown
            .send_replace(certificates(&new.service("executor"), authorities));
        pause().await;
        change.send_replace(certificates(&new.service("gateway"), authorities));
        pause().await;
    }
    stop.send_replace(true);
    let mut calls = 0;
    while let Some(done) = load.join_next().await {
        calls += done.unwrap();
    }
    assert!(calls > 100, "only {calls} calls");
    assert!(
        !world.is_let_in(Some(&old.service("gateway"))).await,
        "the old one is gone"
    );
    drop(world.server);
}
