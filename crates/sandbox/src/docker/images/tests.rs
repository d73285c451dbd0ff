//! Against the shared daemon, with a registry of the tests' own.

use super::registry::Registry;
use super::*;
use crate::docker::daemon::tests::{metrics, shared};
use testkit::docker::BARE_IMAGE;

const SOON: Duration = Duration::from_secs(30);

fn quick() -> Timing {
    Timing {
        refresh: Duration::from_millis(100),
        pull: SOON,
        backoff: [Duration::from_millis(200), Duration::from_millis(400)],
    }
}

async fn images(allowed: &[&str], timing: Timing) -> Images {
    let allowed: Vec<String> = allowed.iter().map(|&name| name.to_owned()).collect();
    Images::launch(shared().await, &allowed, timing, metrics()).unwrap()
}

/// Waits until an image's error, or nothing when it is there, is one that is looked for.
async fn until(images: &Images, name: &str, wanted: impl Fn(Option<&str>) -> bool) -> String {
    let deadline = Instant::now() + SOON;
    loop {
        let error = images.resolve(name).err().map(|error| error.to_string());
        if wanted(error.as_deref()) {
            return error.unwrap_or_default();
        }
        assert!(Instant::now() < deadline, "{error:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn remove(image: &str) {
    // It may never have been there.
    drop(
        testkit::docker::daemon()
            .try_run(&["rmi", "-f", image])
            .await,
    );
}

#[tokio::test]
async fn fault_37_a_missing_image_is_pulled_and_a_call_is_told_how_far_it_is() {
    let registry = Registry::start(false).await;
    let name = registry.image.as_str();
    let images = images(&[name], quick()).await;
    assert_eq!(
        images.resolve(name).unwrap_err().code(),
        ErrorCode::Unavailable
    );
    let text = until(&images, name, |error| {
        error.is_some_and(|it| it.contains(" %)"))
    })
    .await;
    assert!(
        text.starts_with(&format!("the image `{name}` is being pulled (")),
        "{text}"
    );
    assert!(text.contains("try again"), "{text}");
    let asked = Instant::now();
    assert!(images.look_up(name).await.is_err());
    assert!(
        asked.elapsed() < Duration::from_millis(50),
        "no call waits for a pull"
    );
    images
        .any_usable(Instant::now())
        .await
        .expect("one that comes counts");
    registry.give_the_rest();
    until(&images, name, |error| error.is_none()).await;
    let id = images.resolve(name).unwrap();
    assert_eq!(id.as_str(), registry.id);
    assert_eq!(id.facts().env, ["A", "NODE_OPTIONS"]);
    assert_eq!(id.facts().volumes, ["/data"]);
    let encoded = images.shared.metrics.encode().unwrap();
    assert!(encoded.contains("mcp_docker_image_pull_duration_seconds_count{outcome=\"ok\"} 1"));
    images.shutdown().await;
    remove(name).await;
}

/// Fault 37.
#[tokio::test]
async fn fault_37_a_tag_that_is_moved_is_noticed_and_told() {
    let docker = testkit::docker::daemon();
    let name = format!("dynamic-mcp-test/moved:{}", uuid::Uuid::new_v4().simple());
    docker.run(&["tag", BARE_IMAGE, &name]).await;
    let images = images(&[&name], quick()).await;
    let before = images.look_up(&name).await.unwrap();
    let mut changes = images.changes();
    changes.mark_unchanged();
    docker.run(&["tag", testkit::docker::IMAGE, &name]).await;
    timeout(SOON, changes.changed()).await.unwrap().unwrap();
    let after = images.resolve(&name).unwrap();
    assert_ne!(before, after);
    // Its ID is a name too, and so is that without its kind.
    let by_id = self::images(&[], quick()).await;
    assert_eq!(by_id.look_up(after.as_str()).await.unwrap(), after);
    assert_eq!(by_id.look_up(&after.as_str()[7..]).await.unwrap(), after);
    docker.run(&["rmi", &name]).await;
    until(&images, &name, |error| {
        error.is_some_and(|it| it.contains("pull"))
    })
    .await;
    images.shutdown().await;
    by_id.shutdown().await;
}

#[tokio::test]
async fn a_pull_that_fails_is_said_and_tried_again_until_it_works() {
    let registry = Registry::start(true).await;
    let name = registry.image.as_str();
    let images = images(&[name], quick()).await;
    let text = until(&images, name, |error| {
        error.is_some_and(|it| it.contains("missing"))
    })
    .await;
    assert!(
        text.contains("manifest") && text.contains("next try in 1 s"),
        "{text}"
    );
    let error = images.resolve(name).unwrap_err();
    let again = error
        .retry_after()
        .is_some_and(|after| after <= Duration::from_millis(400));
    assert!(
        again || error.to_string().contains("being pulled"),
        "{error:?}"
    );
    let hopeless = images.any_usable(Instant::now()).await;
    assert!(hopeless.is_err_and(|error| error.to_string().contains(name)));
    assert_eq!(images.shared.metrics.images_missing.get(), 1);
    registry.mend();
    registry.give_the_rest();
    until(&images, name, |error| error.is_none()).await;
    assert!(registry.asked() >= 2);
    assert_eq!(images.shared.metrics.images_missing.get(), 0);
    images.any_usable(Instant::now()).await.unwrap();
    images.shutdown().await;
    remove(name).await;
}

#[tokio::test]
async fn fault_37_a_registry_that_hangs_is_given_up_and_one_that_refuses_is_named() {
    let hangs = Registry::start(false).await;
    let timing = Timing {
        pull: Duration::from_millis(400),
        backoff: [SOON, SOON],
        ..quick()
    };
    let refuses = "127.0.0.1:1/tests/refused:1";
    let images = images(&[&hangs.image, refuses], timing).await;
    let missing = |error: Option<&str>| error.is_some_and(|it| it.contains("is missing"));
    let text = until(&images, &hangs.image, missing).await;
    assert!(text.contains("did not answer within 400ms"), "{text}");
    let text = until(&images, refuses, missing).await;
    assert!(
        text.contains("refused") || text.contains("did not answer"),
        "{text}"
    );
    let tries = hangs.asked();
    images.look_again();
    let deadline = Instant::now() + SOON;
    while hangs.asked() == tries {
        assert!(Instant::now() < deadline, "asked to look again");
        sleep(Duration::from_millis(5)).await;
    }
    images.shutdown().await;
}

#[tokio::test]
async fn fault_52_only_what_is_on_the_list_is_used_however_it_is_written() {
    let list = ["docker.io/dynamic-mcp-test/node-bare:1", "node:lts-slim"];
    let images = images(&list, quick()).await;
    images
        .look_up(BARE_IMAGE)
        .await
        .expect("another way to write it");
    images.want("library/node:lts-slim").unwrap();
    for name in [
        "node:20",
        "dynamic-mcp-test/node:1",
        "ghcr.io/library/node:lts-slim",
    ] {
        let error = images.resolve(name).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PolicyDenied, "{name}");
        assert!(error.to_string().contains("node:lts-slim"), "{error}");
    }
    // An ID says nothing about whether its image is one of the list.
    let id = images.resolve(BARE_IMAGE).unwrap();
    let error = images.resolve(id.as_str()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::PolicyDenied);
    let error = images.resolve("../x").unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    images.shutdown().await;
}

#[tokio::test]
async fn names_that_tools_make_up_are_forgotten_in_the_order_of_their_use() {
    let timing = Timing {
        backoff: [SOON, SOON],
        ..quick()
    };
    let images = images(&[], timing).await;
    let id = |number: usize| format!("sha256:{number:064x}");
    images.want(&id(0)).unwrap();
    for number in 1..500 {
        images.want(&id(number)).unwrap();
        images.want(&id(0)).unwrap();
    }
    let names: Vec<String> = images.status().into_iter().map(|it| it.name).collect();
    assert_eq!(names.len(), WANTED);
    for kept in [0, 499, 450] {
        assert!(names.contains(&id(kept)), "{kept}");
    }
    assert!(!names.contains(&id(1)));
    let text = until(&images, &id(0), |error| {
        error.is_some_and(|it| it.contains("missing"))
    })
    .await;
    assert!(
        text.contains("an ID cannot be pulled") && !text.contains("next try"),
        "{text}"
    );
    images.shutdown().await;
}
