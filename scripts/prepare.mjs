import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the repository. */
export const root = fileURLToPath(new URL('..', import.meta.url));

/** Something that the person at the keyboard has to mend; the message says how. */
export class SetupError extends Error {}

/** The napi CLI, for Node.js to run. */
export const napi = join(root, 'node_modules', '@napi-rs', 'cli', 'dist', 'cli.js');

/** Installs the packages when they are missing or out of date. */
export function install() {
  if (isInstallDue()) run('npm', ['ci', '--include=dev']);
}

/** The same, and builds the native module when that is. */
export function prepare() {
  install();
  if (isBuildDue()) {
    requireCargo();
    run('npm', ['run', 'build']);
  }
}

function isInstallDue() {
  // npm writes this file last, so an install that was broken off does not have it.
  const installed = modified('node_modules/.package-lock.json');
  return installed === 0 || installed < modified('package-lock.json');
}

function isBuildDue() {
  const ours = `keyledger.${process.platform}-${process.arch}`;
  const built = readdirSync(root)
    .filter(name => name.startsWith(ours) && name.endsWith('.node'))
    .map(modified);
  const sources = readdirSync(join(root, 'src'), { recursive: true }).map(name =>
    join('src', String(name)),
  );
  const newest = Math.max(
    ...[...sources, 'Cargo.toml', 'Cargo.lock', 'build.rs'].map(name => modified(name)),
  );
  return Math.max(0, ...built) < newest;
}

/**
 * When a file was last changed, 0 when it is not there.
 *
 * @param {string} name relative to the repository
 */
function modified(name) {
  return statSync(join(root, name), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function requireCargo() {
  if (spawnSync('cargo', ['--version']).status !== 0) {
    throw new SetupError(
      'keyledger has to be built, and `cargo --version` does not work here.\n' +
        'Install Rust (https://rustup.rs), open a new shell and try again.',
    );
  }
}

/**
 * @param {string} command
 * @param {string[]} args
 */
function run(command, args) {
  const line = [command, ...args].join(' ');
  console.log(`> ${line}`);
  const { error, status, signal } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) throw new SetupError(`\`${line}\` can not be run: ${error.message}`);
  if (status !== 0)
    throw new SetupError(`\`${line}\` failed (${signal ?? `exit code ${status}`}).`);
}
