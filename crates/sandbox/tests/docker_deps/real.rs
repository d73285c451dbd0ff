//! Real packages with real trees.

use domain::tool::Runtime;
use tokio::time::Instant;

use crate::rig::{Rig, call};

const TREE: [(&str, &str); 4] = [
    ("lodash", "^4.17.0"),
    ("zod", "3.x"),
    ("csv-parse", "5"),
    ("date-fns", "2.30.0"),
];

#[tokio::test(flavor = "multi_thread")]
async fn npm_packages_are_locked_installed_once_and_used() {
    let rig = Rig::new().await;
    let lock = rig.resolve(Runtime::Node, &TREE).await.unwrap();
    let names: Vec<_> = lock.packages().map(|it| it.name.as_str()).collect();
    assert!(
        TREE.iter().all(|(name, _)| names.contains(name)),
        "{names:?}"
    );
    assert!(
        lock.packages()
            .all(|it| it.integrity[0].starts_with("sha512-"))
    );
    assert!(!lock.text().contains("://"), "no addresses");
    let code = "
        const _ = require('lodash');
        const { z } = require('zod');
        const { parse } = require('csv-parse/sync');
        const { addDays } = await import('date-fns');
        const shape = z.object({ n: z.coerce.number() });
        const rows = parse('n\\n1\\n2', { columns: true }).map((row) => shape.parse(row));
        let written = true;
        try { require('fs').writeFileSync('/node_modules/x', 'x'); } catch { written = false; }
        return { sum: _.sumBy(rows, 'n'), day: addDays(new Date(0), 3).toISOString(), written };";
    let first = Instant::now();
    let value = rig
        .value(call(Runtime::Node, &TREE, Some(&lock), code))
        .await;
    let first = first.elapsed();
    let expected =
        serde_json::json!({"sum": 3, "day": "1970-01-04T00:00:00.000Z", "written": false});
    assert_eq!(value, expected);
    let stage = |stage: &str| {
        let found = &rig.metrics.dependency_install_duration;
        found.with_label_values(&["node", stage]).get_sample_sum()
    };
    let (install, manager) = (stage("install"), stage("manager"));
    assert!(manager > 0.0 && manager < install + stage("resolve"));
    let later = Instant::now();
    assert_eq!(
        rig.value(call(Runtime::Node, &TREE, Some(&lock), code))
            .await,
        expected
    );
    assert!(later.elapsed() < first, "installed once");
    rig.only_sets(1).await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pypi_wheels_are_locked_installed_once_and_used() {
    let rig = Rig::new().await;
    let wanted = [("numpy", "<3"), ("pandas", ">=2,<3"), ("pydantic", "~=2.5")];
    let lock = rig.resolve(Runtime::Python, &wanted).await.unwrap();
    let numpy = lock.packages().find(|it| it.name == "numpy").unwrap();
    assert!(
        numpy.integrity.len() > 1,
        "for other versions of Python too: {numpy:?}"
    );
    let code = "
import numpy, pandas, pydantic
class Row(pydantic.BaseModel):
    n: int
frame = pandas.DataFrame({'n': [1, 2, 3]})
try:
    open('/site-packages/x', 'w')
    written = True
except OSError:
    written = False
return {'sum': int(frame['n'].sum()), 'mean': float(numpy.mean([1, 2])), 'n': Row(n='7').n, 'written': written}";
    let value = rig
        .value(call(Runtime::Python, &wanted, Some(&lock), code))
        .await;
    assert_eq!(
        value,
        serde_json::json!({"sum": 6, "mean": 1.5, "n": 7, "written": false})
    );
    rig.only_sets(1).await;
    rig.close().await;
}

/// One-off code has no lockfile: its packages are resolved on the way, and remembered.
#[tokio::test(flavor = "multi_thread")]
async fn one_off_code_has_its_packages_too() {
    let rig = Rig::new().await;
    let wanted = [("lodash", "4.17.21")];
    let code = "return require('lodash').VERSION";
    for _ in 0..2 {
        let value = rig.value(call(Runtime::Node, &wanted, None, code)).await;
        assert_eq!(value, "4.17.21");
    }
    let resolved = rig
        .metrics
        .dependency_install_duration
        .with_label_values(&["node", "resolve"]);
    assert_eq!(resolved.get_sample_count(), 1);
    rig.close().await;
}
