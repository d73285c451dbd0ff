// The command line that both scripts share, the overall time limit, and the one line they end with.

const LIMIT_MS = 60_000;

/** Parses the arguments; ends the process with 2 and a usage line when they make no sense. */
export function parse(argv, eras) {
  const options = { headers: {}, profile: 'enterprise', additions: true, era: eras[0] };
  const rest = [...argv];
  try {
    while (rest.length > 0) {
      const flag = rest.shift();
      const value = () => {
        if (rest.length === 0) throw new Error(`${flag} needs a value`);
        return rest.shift();
      };
      if (flag === '--url') options.url = value();
      else if (flag === '--header') {
        const [name, ...text] = value().split('=');
        options.headers[name] = text.join('=');
      } else if (flag === '--token') options.token = value();
      else if (flag === '--login') options.login = loginOf(value());
      else if (flag === '--engine') options.engine = value();
      else if (flag === '--profile') options.profile = value();
      else if (flag === '--era') options.era = value();
      else if (flag === '--without-additions') options.additions = false;
      else if (flag === '--stdio') options.stdio = rest.splice(0);
      else throw new Error(`unknown argument ${flag}`);
    }
    if ((options.url === undefined) === (options.stdio === undefined)) throw new Error('give --url or --stdio');
    if (options.stdio?.length === 0) throw new Error('--stdio needs a program');
    if (options.token !== undefined && options.login !== undefined) throw new Error('give --token or --login');
    if ((options.token ?? options.login) !== undefined && options.url === undefined) throw new Error('--token and --login need --url');
    if (!eras.includes(options.era)) throw new Error(`--era must be one of ${eras.join(', ')}`);
    if (!['mvp', 'enterprise'].includes(options.profile)) throw new Error('--profile must be mvp or enterprise');
    if (![undefined, 'isolate', 'docker'].includes(options.engine)) throw new Error('--engine must be isolate or docker');
  } catch (error) {
    process.stderr.write(
      `${error.message}\nusage: [--era ${eras.join('|')}] [--profile mvp|enterprise] [--engine isolate|docker] ` +
        '[--token TOKEN | --login http://ID:SECRET@ISSUER] [--header name=value]... [--without-additions] (--url URL | --stdio PROGRAM [ARGUMENT]...)\n',
    );
    process.exit(2);
  }
  return options;
}

/** What the SDKs' `ClientCredentialsProvider` takes: it gets tokens by itself, from this issuer only. */
function loginOf(text) {
  const { protocol, username, password, host, pathname } = new URL(text);
  return { clientId: username, clientSecret: password, expectedIssuer: `${protocol}//${host}${pathname === '/' ? '' : pathname}` };
}

/** Runs `work` and ends the process: `ok <n> checks` and 0, or what failed and 1. */
export async function finish(work) {
  const timer = setTimeout(() => {
    process.stdout.write(`FAILED: not done within ${LIMIT_MS / 1000} s; last passed: ${last}\n`);
    process.exit(1);
  }, LIMIT_MS);
  try {
    await work(check);
  } catch (error) {
    process.stdout.write(`FAILED after ${passed} checks; last passed: ${last}\n${error.stack ?? error}\n`);
    process.exit(1);
  }
  clearTimeout(timer);
  process.stdout.write(`ok ${passed} checks\n`);
  process.exit(0);
}

let passed = 0;
let last = 'none';

function check(holds, what, got) {
  if (!holds) throw new Error(`check failed: ${what}${got === undefined ? '' : `\n  got: ${JSON.stringify(got)?.slice(0, 2000)}`}`);
  passed += 1;
  last = what;
}
