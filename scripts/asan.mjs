// The addon, built with AddressSanitizer, inside Node.js (`npm run asan`): finds what reads or writes memory that is not its
// own, in Rust and in what it calls of Node-API. Linux only. Ends as `npm test` does.
import { execFileSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { requireNightly } from './nightly.mjs';
import { prepare, root } from './prepare.mjs';
import { onNode, runAll } from './suites.mjs';

/** A target of its own, so that what runs while building is built without. */
const TARGET = `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-unknown-linux-gnu`;
const FOLDER = join(root, 'target', 'asan');
const ADDON = join(FOLDER, 'keyledger.node');
/** What is measured there is the memory of the sanitizer too. */
const MEASURES = '__test__/memory.test.ts';
const STRESS = '__test__/stress';

requireNightly('cargo');
prepare();
const build = ['+nightly', 'build', '--locked', '--release', '--features', 'binding'];
execFileSync('cargo', [...build, '--target', TARGET, '--target-dir', FOLDER], {
  cwd: root,
  stdio: 'inherit',
  env: {
    ...process.env,
    RUSTFLAGS: '-Zsanitizer=address',
    // Names in the reports.
    CARGO_PROFILE_RELEASE_STRIP: 'none',
    CARGO_PROFILE_RELEASE_LTO: 'off',
  },
});
copyFileSync(join(FOLDER, TARGET, 'release', 'libkeyledger.so'), ADDON);

/** Node.js itself is built without, so the sanitizer has to be there before it. */
const LD_PRELOAD = execFileSync('gcc', ['-print-file-name=libasan.so'], {
  encoding: 'utf8',
}).trim();
const env = {
  LD_PRELOAD,
  // What Node.js leaves to the system at its end is no leak.
  ASAN_OPTIONS: 'detect_leaks=0',
  KEYLEDGER_BINARY: ADDON,
};
await runAll(
  [
    { ...onNode('--exclude', MEASURES, '--exclude', `${STRESS}/**`), name: 'AddressSanitizer' },
    { ...onNode(`${STRESS}/workers.test.ts`), name: 'AddressSanitizer, workers' },
  ],
  env,
);
