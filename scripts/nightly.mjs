// The nightly toolchain of Rust, for what the stable one can't do.
import { spawnSync } from 'node:child_process';
import process from 'node:process';

/**
 * Installs what is missing of it. Ends the process, as a failed run of tests, if that can't be done.
 *
 * @param {...string} components
 */
export function requireNightly(...components) {
  const list = ['component', 'list', '--toolchain', 'nightly', '--installed'];
  const installed = spawnSync('rustup', list, { encoding: 'utf8' }).stdout ?? '';
  if (components.every(name => new RegExp(`^${name}`, 'm').test(installed))) return;

  const args = ['toolchain', 'install', 'nightly', '--no-self-update', '--profile', 'minimal'];
  args.push('--component', components.join(','));
  console.log(`> rustup ${args.join(' ')}`);
  if (spawnSync('rustup', args, { stdio: 'inherit' }).status === 0) return;
  console.error('The nightly toolchain can not be installed; it needs rustup (https://rustup.rs).');
  console.error('\n0 passed, 1 failed');
  process.exit(1);
}
