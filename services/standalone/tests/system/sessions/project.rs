//! A session as an agent uses one: a small project is written, given its dependencies, tested and
//! fixed; pictures come back as pictures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{User, end, serve};
use crate::deployment::Kind;

/// Commands, each with its expected exit code and what its output has to hold.
async fn steps(user: &User<'_>, steps: &[(&str, i64, &str)]) -> usize {
    for (command, code, part) in steps {
        let (got, out, err) = user.sh(command).await;
        assert_eq!(got, *code, "{command}\n{out}\n{err}");
        assert!(
            out.contains(part) || err.contains(part),
            "{command}: no {part:?} in\n{out}\n{err}"
        );
    }
    steps.len()
}

/// The one image of a result, decoded.
fn picture(answer: &Value) -> Vec<u8> {
    assert_ne!(answer["isError"], true, "{answer}");
    let block = &answer["content"][0];
    assert_eq!(
        (&block["type"], &block["mimeType"]),
        (&json!("image"), &json!("image/png"))
    );
    let bytes = STANDARD.decode(block["data"].as_str().unwrap()).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    bytes
}

const REPORT: &str = "const { parse } = require('csv-parse/sync');
function totals(text) {
  const rows = parse(text, { columns: true, cast: true });
  const sums = {};
  for (const row of rows) sums[row.name] = row.amount;
  return sums;
}
module.exports = { totals };
";

const TESTS: &str = "const test = require('node:test');
const assert = require('node:assert');
const { totals } = require('../src/report.js');
test('adds up by name', () => {
  assert.deepStrictEqual(totals('name,amount\\na,1\\nb,2\\na,3\\n'), { a: 4, b: 2 });
});
test('an empty file has no totals', () => {
  assert.deepStrictEqual(totals('name,amount\\n'), {});
});
";

const PNG: &str = "const zlib = require('node:zlib');
function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type), data]);
  const length = Buffer.alloc(4); length.writeUInt32BE(data.length);
  const crc = Buffer.alloc(4); crc.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, crc]);
}
function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc >>> 0;
}
const size = 64, rows = [];
for (let y = 0; y < size; y++) {
  const row = Buffer.alloc(1 + size * 3);
  for (let x = 0; x < size; x++) row.set([x * 4, y * 4, 128], 1 + x * 3);
  rows.push(row);
}
const head = Buffer.alloc(13);
head.writeUInt32BE(size, 0); head.writeUInt32BE(size, 4); head.set([8, 2, 0, 0, 0], 8);
const png = Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), chunk('IHDR', head),
  chunk('IDAT', zlib.deflateSync(Buffer.concat(rows))), chunk('IEND', Buffer.alloc(0))]);
require('node:fs').writeFileSync('picture.png', png);
return { content: [{ type: 'image', data: png.toString('base64'), mimeType: 'image/png' }] };
";

#[tokio::test]
async fn docker_a_node_project_is_written_tested_and_fixed() {
    let (deployment, client) = serve(Kind::Three, &[]).await;
    let dependencies = json!([{"name": "csv-parse", "version": "5.6.0"}]);
    let user = User::new(&client, json!({ "dependencies": dependencies })).await;
    let mut commands = steps(
        &user,
        &[
            ("node --version", 0, "v"),
            ("pwd", 0, "/workspace"),
            ("ls", 0, ""),
            ("mkdir -p src test data", 0, ""),
            ("node -e 'console.log(typeof require(\"csv-parse/sync\").parse)'", 0, "function"),
            ("node --input-type=module -e 'import { parse } from \"csv-parse/sync\"; console.log(typeof parse)'", 0, "function"),
            ("touch /node_modules/x", 1, "Read-only"),
        ],
    )
    .await;
    user.write(
        "package.json",
        r#"{"name": "report", "version": "1.0.0", "private": true}"#,
    )
    .await;
    user.write("src/report.js", REPORT).await;
    user.write("test/report.test.js", TESTS).await;
    user.write("data/sales.csv", "name,amount\nann,10\nbob,5\nann,7\n")
        .await;
    commands += steps(
        &user,
        &[
            ("find . -name '*.js' | sort", 0, "./test/report.test.js"),
            ("wc -l src/report.js", 0, "8"),
            ("node --check src/report.js", 0, ""),
            ("node --test test/", 1, "adds up by name"),
            ("node --test test/ 2>&1 | grep -c 'not ok'", 0, ""),
            ("grep -n 'row.amount' src/report.js", 0, "5:"),
            ("cp src/report.js /tmp/report.before", 0, ""),
            ("sed -i 's/sums\\[row.name\\] = row.amount/sums[row.name] = (sums[row.name] ?? 0) + row.amount/' src/report.js", 0, ""),
            ("diff /tmp/report.before src/report.js", 1, "?? 0"),
            ("node --test test/", 0, "pass 2"),
        ],
    )
    .await;
    // Feature after feature, each written, tested and looked at.
    for at in 1..=8 {
        let code = format!("exports.step = (n) => n + {at};\n");
        user.write(&format!("src/step{at}.js"), &code).await;
        let test = format!(
            "const test = require('node:test'); const assert = require('node:assert');\n\
             test('step {at}', () => assert.equal(require('../src/step{at}.js').step(1), {}));\n",
            at + 1
        );
        user.write(&format!("test/step{at}.test.js"), &test).await;
        let check = format!("node --check src/step{at}.js && echo fine");
        let run = format!("node --test test/step{at}.test.js");
        let look = format!("cat src/step{at}.js");
        commands += steps(
            &user,
            &[
                (&check, 0, "fine"),
                (&run, 0, "pass 1"),
                (&look, 0, "exports.step"),
            ],
        )
        .await;
    }
    commands += steps(
        &user,
        &[
            ("node --test test/ | tail -8", 0, "pass 10"),
            ("ls test | wc -l", 0, "9"),
            ("node -e 'console.log(JSON.stringify(require(\"./src/report.js\").totals(require(\"fs\").readFileSync(\"data/sales.csv\", \"utf8\"))))' | tee totals.json", 0, "{\"ann\":17,\"bob\":5}"),
            ("tar cf project.tar src test package.json && tar tf project.tar | wc -l", 0, ""),
            ("sha256sum project.tar", 0, "project.tar"),
            ("rm -rf data && ls", 0, "src"),
            ("false", 1, ""),
            ("df -h /workspace | tail -1", 0, "/workspace"),
            ("for i in 1 2 3; do echo $i; done | paste -sd+ - | cat", 0, "1+2+3"),
            ("env | grep -c '^PATH='", 0, "1"),
        ],
    )
    .await;
    assert!(commands > 50, "{commands} commands");

    // A package that comes later, for code only.
    let later = json!({
        "code": "const { z } = require('zod'); return z.object({a: z.number()}).safeParse({a: 'x'}).success",
        "dependencies": [{"name": "zod", "version": "3.23.8"}],
    });
    let ran = user.ok("sandbox.run_js", later).await;
    assert_eq!(ran["result"], false, "{ran}");
    let drawn = user.call("sandbox.run_js", json!({ "code": PNG })).await;
    let bytes = picture(&drawn);
    let read = user
        .ok("sandbox.files.read", json!({"path": "picture.png"}))
        .await;
    assert_eq!(
        STANDARD.decode(read["content"].as_str().unwrap()).unwrap(),
        bytes
    );
    user.ok("sandbox.stop", json!({})).await;
    end(deployment).await;
}

const PLOT: &str = "import io, base64
import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt
plt.plot([1, 2, 3], [1, 4, 9])
out = io.BytesIO()
plt.savefig(out, format='png')
data = base64.b64encode(out.getvalue()).decode()
return {'content': [{'type': 'image', 'data': data, 'mimeType': 'image/png'}]}
";

#[tokio::test]
async fn docker_a_python_project_is_tested_fixed_and_plotted() {
    let more = [("MCP_SANDBOX_INSTALL_TIMEOUT_MS", "300000")];
    let (deployment, client) = serve(Kind::Three, &more).await;
    let dependencies = json!([{"name": "matplotlib", "version": "3.10.0"}]);
    let asked = json!({"runtime": "python", "dependencies": dependencies});
    let user = User::new(&client, asked).await;
    user.write("area.py", "def area(r):\n    return 3 * r ** 2\n")
        .await;
    let tests = "import math, unittest\nfrom area import area\n\
        class T(unittest.TestCase):\n    def test_area(self):\n        self.assertAlmostEqual(area(2), math.pi * 4)\n";
    user.write("test_area.py", tests).await;
    steps(
        &user,
        &[
            ("python3 --version", 0, "Python 3"),
            ("python3 -m unittest 2>&1 | tail -3", 0, "FAILED"),
            (
                "sed -i 's/return 3/return math.pi/; 1i import math' area.py",
                0,
                "",
            ),
            ("python3 -m unittest", 0, "OK"),
            (
                "python3 -c 'import matplotlib, numpy; print(numpy.arange(3).sum())'",
                0,
                "3",
            ),
        ],
    )
    .await;
    let drawn = user
        .call("sandbox.run_python", json!({ "code": PLOT }))
        .await;
    assert!(picture(&drawn).len() > 5_000);
    end(deployment).await;
}
