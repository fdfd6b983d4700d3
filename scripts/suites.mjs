// What `npm test` and `npm run stress` share: running a suite on each of its runners, and adding up what they counted.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { stripVTControlCharacters } from 'node:util';
import { prepare, root, SetupError } from './prepare.mjs';

/**
 * What to run, and where its output tells how many passed and failed.
 *
 * @typedef {{ name: string, command: string[], counts: RegExp }} Suite
 */

/**
 * Rust tests.
 *
 * @param {string} name
 * @param {...string} command
 * @returns {Suite}
 */
export const onCargo = (name, ...command) => ({
  name,
  command,
  counts: /test result: \w+\. (?<passed>\d+) passed; (?<failed>\d+) failed/g,
});

/**
 * The suite on Node.js.
 *
 * @param {...string} args of `vitest run`
 * @returns {Suite}
 */
export const onNode = (...args) => ({
  name: 'Node',
  command: [process.execPath, join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...args],
  counts: /^ *Tests +(?:(?<failed>\d+) failed)?(?: \| )?(?:(?<passed>\d+) passed)?/gm,
});

/**
 * The suite on Bun.
 *
 * @param {...string} args of `bun test`
 * @returns {Suite}
 */
export const onBun = (...args) => ({
  name: 'Bun',
  command: [join(root, 'node_modules/.bin/bun'), 'test', ...args],
  counts: /^ *(?<passed>\d+) pass\n(?: *\d+ \w+\n)*? *(?<failed>\d+) fail/gm,
});

/**
 * Runs a command, shows its output, and gives it too.
 *
 * @param {string[]} command
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<{ ok: boolean, output: string }>}
 */
function run([command = '', ...args], env) {
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

/**
 * Installs and builds what is missing, then runs these suites. Ends with their sum; fails when one fails, or when a
 * runner ran none.
 *
 * @param {Suite[]} suites
 * @param {NodeJS.ProcessEnv} [settings] for the tests
 */
export async function runAll(suites, settings = {}) {
  try {
    prepare();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`${error.message}\n\n0 passed, 1 failed`);
    process.exit(1);
  }
  // Tests that name no data file of their own must not make one here.
  const folder = mkdtempSync(join(tmpdir(), 'keyledger-test-default-'));
  const env = { ...process.env, ...settings, DATA_FILE: join(folder, 'apikeys.json') };
  const sum = { passed: 0, failed: 0 };
  const lines = [];
  for (const { name, command, counts } of suites) {
    console.log(`\n> ${name}`);
    const { ok, output } = await run(command, env);
    const found = { passed: 0, failed: 0 };
    for (const { groups } of stripVTControlCharacters(output).matchAll(counts)) {
      found.passed += Number(groups?.passed ?? 0);
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
}
