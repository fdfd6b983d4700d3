// The packages as they are published, and all that can be tried of them here (`npm run test:packages`): builds the binaries
// for Linux x64 with glibc and with musl, packs, and runs the checks in `__test__/packages`. Debian on x64, as root.
import { execFileSync } from 'node:child_process';
import { root } from './prepare.mjs';
import { onNode, runAll } from './suites.mjs';

const run = (/** @type {string[]} */ ...args) =>
  execFileSync('npm', ['run', ...args], { cwd: root, stdio: 'inherit' });
for (const target of ['x86_64-unknown-linux-gnu', 'x86_64-unknown-linux-musl']) {
  run('build:target', '--', target);
}
run('pack', '--', '--built');
await runAll([{ ...onNode(), name: 'Packages' }], { KEYLEDGER_PACKAGES: 'yes' });
