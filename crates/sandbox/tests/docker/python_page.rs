//! The examples of docs/python.md do what the page says.

use domain::error::ErrorCode;
use domain::tool::Runtime;
use serde_json::Value;

use crate::rig::python_subject;
use crate::suite::spoken::Spoken;

const PAGE: &str = include_str!("../../../../docs/python.md");

/// Every example, with the text that follows it.
fn examples() -> Vec<(&'static str, &'static str)> {
    let parts = PAGE.split("```python\n").skip(1);
    parts
        .map(|part| part.split_once("\n```\n").unwrap())
        .collect()
}

/// The text between the first pair of back quotes.
fn quoted(text: &str) -> &str {
    text.split('`').nth(1).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_of_the_page_do_what_it_says() {
    let it = Spoken {
        engine: python_subject().await,
        runtime: Runtime::Python,
    };
    let (mut returned, mut failed, mut pictures) = (0, 0, 0);
    for (code, after) in examples() {
        let ended = it.run((code, code)).await;
        let after = after.trim_start();
        if after.starts_with("returns `") {
            let wanted: Value = serde_json::from_str(quoted(after)).unwrap();
            assert_eq!(ended.value(), Some(wanted), "{code}");
            returned += 1;
        } else if after.starts_with("fails with `") {
            let message = &ended.failure(ErrorCode::ToolFailed).message;
            assert_eq!(message, quoted(after));
            failed += 1;
        } else {
            let value = ended.value().unwrap();
            let block = &value["content"][0];
            assert_eq!(block["mimeType"], "image/png");
            let data = block["data"].as_str().unwrap();
            assert!(
                data.starts_with("iVBORw0KGgo") && data.len() > 100,
                "{data}"
            );
            pictures += 1;
        }
    }
    assert_eq!((returned, failed, pictures), (2, 1, 1));
    it.engine.shutdown().await;
}
