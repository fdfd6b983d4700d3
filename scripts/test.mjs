// All tests: Rust, then the suite in `__test__/` on Node and on Bun. Ends with their sum; fails when one fails, or when
// a runner ran none.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { stripVTControlCharacters } from 'node:util';
import { prepare, root, SetupError } from './prepare.mjs';

/** What to run, and where its output tells how many passed and failed. */
const suites = [
  {
    name: 'Rust',
    command: ['cargo', 'test', '--locked'],
    counts: /test result: \w+\. (?<passed>\d+) passed; (?<failed>\d+) failed/g,
  },
  {
    name: 'Node',
    command: [process.execPath, join(root, 'node_modules/vitest/vitest.mjs'), 'run'],
    counts: /^ *Tests +(?:(?<failed>\d+) failed \| )?(?<passed>\d+) passed/gm,
  },
  {
    name: 'Bun',
    command: [join(root, 'node_modules/.bin/bun'), 'test', '--timeout', '60000', '__test__'],
    counts: /^ *(?<passed>\d+) pass\n(?: *\d+ \w+\n)*? *(?<failed>\d+) fail/gm,
  },
];

/** Tests that name no data file of their own must not make one here. */
const folder = mkdtempSync(join(tmpdir(), 'keyledger-test-default-'));
const env = { ...process.env, DATA_FILE: join(folder, 'apikeys.json') };

/**
 * Runs a command, shows its output, and gives it too.
 *
 * @param {string[]} command
 * @returns {Promise<{ ok: boolean, output: string }>}
 */
function run([command = '', ...args]) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    /**
     * @param {import('node:stream').Readable} stream
     * @param {NodeJS.WriteStream} shown
     */
    const show = (stream, shown) =>
      stream.setEncoding('utf8').on('data', text => {
        output += text;
        shown.write(text);
      });
    show(child.stdout, process.stdout);
    show(child.stderr, process.stderr);
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ ok: code === 0 && signal === null, output }));
  });
}

try {
  prepare();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`${error.message}\n\n0 passed, 1 failed`);
  process.exit(1);
}
const sum = { passed: 0, failed: 0 };
const lines = [];
for (const { name, command, counts } of suites) {
  console.log(`\n> ${name}`);
  const { ok, output } = await run(command);
  const found = { passed: 0, failed: 0 };
  for (const { groups } of stripVTControlCharacters(output).matchAll(counts)) {
    found.passed += Number(groups?.passed);
    found.failed += Number(groups?.failed ?? 0);
  }
  // A runner that breaks off, or that runs nothing, has failed whatever it counted.
  if ((!ok || found.passed === 0) && found.failed === 0) found.failed = 1;
  sum.passed += found.passed;
  sum.failed += found.failed;
  lines.push(`${name}: ${found.passed} passed, ${found.failed} failed`);
}
rmSync(folder, { recursive: true, force: true });
console.log(`\n${lines.join('\n')}\n`);
console.log(`${sum.passed} passed, ${sum.failed} failed`);
process.exitCode = sum.failed === 0 ? 0 : 1;
