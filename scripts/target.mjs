// `npm run build:target -- TRIPLE`: builds the addon for a platform, in `artifacts`, as it is published. For Linux, Zig
// links it, from any machine that has Python: with glibc for an old version of it.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { install, napi, root } from './prepare.mjs';

const GLIBC = '2.17';
const zig = join(root, 'target', 'zig');

/**
 * @param {NodeJS.ProcessEnv} env
 * @param {string} command
 * @param {...string} args
 */
function run(env, command, ...args) {
  execFileSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
}

/** Zig and cargo-zigbuild come from PyPI. Gives a PATH that has them. */
function withZig() {
  const bin = join(zig, 'bin');
  if (!existsSync(join(bin, 'cargo-zigbuild'))) {
    run({}, 'python3', '-m', 'venv', zig);
    run({}, join(bin, 'pip'), 'install', '--quiet', 'ziglang', 'cargo-zigbuild');
  }
  return [bin, process.env.PATH].join(delimiter);
}

const [triple] = process.argv.slice(2);
if (triple === undefined) throw new Error('Which target? They are listed in package.json.');
install();
run({}, 'rustup', 'target', 'add', triple);
const crosses = triple.includes('linux');
const cargo = process.env.CARGO_HOME ?? join(homedir(), '.cargo');
const env = {
  ...(crosses && { PATH: withZig() }),
  // Where it was built is nobody's business.
  RUSTFLAGS: `--remap-path-prefix=${cargo}=cargo --remap-path-prefix=${root}=keyledger`,
};
const what = ['--platform', '--release', '--features', 'binding', '--no-js'];
const where = ['--output-dir', 'artifacts', '--dts', join('..', 'native.d.cts')];
const target = ['--target', triple.endsWith('linux-gnu') ? `${triple}.${GLIBC}` : triple];
const how = crosses ? ['--cross-compile'] : [];
run(env, process.execPath, napi, 'build', ...what, ...where, ...target, ...how);
