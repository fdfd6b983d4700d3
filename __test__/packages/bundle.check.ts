/** docs/migrate.md: what works of bundling, and of compiling to one file. */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from '../../scripts/prepare.mjs';
import { installByNpm, makeProject, run, useRegistry } from './registry.js';
import { bun } from './runtimes.js';

let project: string;
useRegistry();

const SOURCE = `import { findApiKey } from 'keyledger'; console.log(await findApiKey('sk-a'));`;

async function install(): Promise<void> {
  project = makeProject('module');
  await installByNpm(project);
  writeFileSync(join(project, 'main.js'), SOURCE);
}

/** Runs what was made where there are no packages. */
async function runAlone(command: string, ...args: string[]): Promise<string> {
  rmSync(join(project, 'node_modules'), { recursive: true });
  mkdirSync(join(project, 'data'));
  return run(project, { DATA_FILE: 'data/apikeys.json' }, command, ...args);
}

test('bun build --compile makes one file that has the binary in it', async () => {
  await install();
  await run(project, {}, bun, 'build', '--compile', 'main.js', '--outfile', 'gateway');
  expect(await runAlone('./gateway')).toBe('null');
});

test('bun build puts the binary beside the bundle', async () => {
  await install();
  await run(project, {}, bun, 'build', '--target', 'bun', 'main.js', '--outdir', 'out');
  expect(readdirSync(join(project, 'out')).filter(name => name.endsWith('.node'))).toHaveLength(1);
  expect(await runAlone(bun, 'out/main.js')).toBe('null');
});

test('esbuild leaves it out as an external package', async () => {
  await install();
  const esbuild = join(root, 'node_modules', '.bin', 'esbuild');
  const options = ['--bundle', '--platform=node', '--format=esm', '--external:keyledger'];
  await run(project, {}, esbuild, 'main.js', ...options, '--outfile=out.mjs');
  mkdirSync(join(project, 'data'));
  const env = { DATA_FILE: 'data/apikeys.json' };
  expect(await run(project, env, process.execPath, 'out.mjs')).toBe('null');
});
