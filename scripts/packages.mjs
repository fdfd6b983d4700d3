// The packages as they are published, and all that can be tried of them here (`npm run test:packages`): builds the binaries
// for Linux x64 with glibc and with musl, packs, and runs the checks in `__test__/packages`. Linux x64, Python and root.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { prepare, root } from './prepare.mjs';
import { onNode, runAll } from './suites.mjs';

/**
 * @param {NodeJS.ProcessEnv} env
 * @param {string} command
 * @param {...string} args
 */
function run(env, command, ...args) {
  execFileSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
}

/** Zig and cargo-zigbuild link for other systems; both come from PyPI. Gives a PATH that has them. */
function withZig() {
  const folder = join(root, 'target', 'zig');
  const bin = join(folder, 'bin');
  if (!existsSync(join(bin, 'cargo-zigbuild'))) {
    run({}, 'python3', '-m', 'venv', folder);
    run({}, join(bin, 'pip'), 'install', '--quiet', 'ziglang', 'cargo-zigbuild');
  }
  return [bin, process.env.PATH].join(delimiter);
}

prepare();
const env = { PATH: withZig() };
for (const target of ['x86_64-unknown-linux-gnu.2.17', 'x86_64-unknown-linux-musl']) {
  run({}, 'rustup', 'target', 'add', target.replace(/\.[\d.]+$/, ''));
  run(env, 'npm', 'run', 'build:target', '--', target, '--cross-compile');
}
run({}, 'npm', 'run', 'pack', '--', '--built');
await runAll([{ ...onNode(), name: 'Packages' }], { KEYLEDGER_PACKAGES: 'yes' });
