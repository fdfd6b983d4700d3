// The stress tests, `__test__/stress`, in their full form (`npm run stress`, or `npm run stress -- NAME ...` for some of
// the files), on Node and on Bun. They take minutes; `npm test` runs a short form of each. Ends as `npm test` does.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { root } from './prepare.mjs';
import { onBun, onNode, runAll } from './suites.mjs';

const FOLDER = '__test__/stress';
const SUFFIX = '.test.ts';
/** For tests that set no limit of their own. */
const LIMIT_MS = String(60 * 60 * 1000);

const all = readdirSync(join(root, FOLDER))
  .filter(name => name.endsWith(SUFFIX))
  .map(name => name.slice(0, -SUFFIX.length));
const names = process.argv.length > 2 ? process.argv.slice(2) : all;
const files = names.map(name => `./${FOLDER}/${name}${SUFFIX}`);
if (files.some(file => !existsSync(join(root, file)))) {
  console.error(`The stress tests are: ${all.join(', ')}.\n\n0 passed, 1 failed`);
  process.exit(1);
}

// One file at a time: some compare what they measure.
const limits = ['--testTimeout', LIMIT_MS, '--hookTimeout', LIMIT_MS, '--no-file-parallelism'];
await runAll([onNode(...limits, ...files), onBun('--timeout', LIMIT_MS, ...files)], {
  KEYLEDGER_STRESS: 'full',
});
