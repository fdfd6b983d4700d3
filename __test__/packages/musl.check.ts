/** In what Alpine has: musl and no `ldd`; Bun from its package, and Node.js. */
import { execFileSync } from 'node:child_process';
import { cpSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { muslRoot } from '../../scripts/musl.mjs';
import { makeProject, removeProjects, run, serve } from './registry.js';

const system = muslRoot();
let registry: Awaited<ReturnType<typeof serve>>;
let project: string;

/** Where the data file is, as that system sees it. */
let data: string;

/** Runs a command of that system. */
const inside = (command: string, ...args: string[]) =>
  run('/', { HOME: '/tmp', DATA_FILE: data }, 'chroot', system, command, ...args);

beforeAll(async () => {
  registry = await serve();
  execFileSync('mount', ['--bind', '/proc', join(system, 'proc')]);
  execFileSync('mount', ['--bind', '/dev', join(system, 'dev')]);
  project = makeProject(registry.url, { type: 'module' }, join(system, 'tmp'));
  data = `/tmp/${basename(project)}/apikeys.json`;
});
afterAll(() => {
  for (const name of ['proc', 'dev']) execFileSync('umount', [join(system, name)]);
  registry.server.close();
  removeProjects();
});

test('installed by Bun without scripts, it runs on Bun and on Node', async () => {
  const cwd = `/tmp/${basename(project)}`;
  await inside('/usr/local/bin/bun', 'add', '--cwd', cwd, '--ignore-scripts', 'keyledger');
  const options = ['--frozen-lockfile', '--production', '--ignore-scripts'];
  await inside('/usr/local/bin/bun', 'install', '--cwd', cwd, ...options);
  expect(readdirSync(join(project, 'node_modules'))).toContain('keyledger-linux-x64-musl');

  const record = { key: 'sk-a', name: 'A', total_lifetime_tokens: 1, usage_windows: [] };
  const source = `import fs from 'node:fs';
    import { findApiKey, updateApiKeyUsage } from 'keyledger';
    fs.writeFileSync(process.env.DATA_FILE, ${JSON.stringify(JSON.stringify({ keys: [record] }))});
    await updateApiKeyUsage('sk-a', 41, 'm');
    const maps = fs.readFileSync('/proc/self/maps', 'utf8');
    console.log(maps.includes('linux-x64-musl.node'), maps.includes('linux-x64-gnu.node'), maps.includes('/lib/ld-musl-'));
    console.log((await findApiKey('sk-a')).total_lifetime_tokens);`;
  writeFileSync(join(project, 'main.js'), source);
  for (const runtime of ['bun', 'node']) {
    const output = await inside(`/usr/local/bin/${runtime}`, `${cwd}/main.js`);
    expect([runtime, output]).toEqual([runtime, 'true false true\n42']);
  }
});

test('without the binary for musl the error says what to install', async () => {
  const alone = makeProject(registry.url, { type: 'module' }, join(system, 'tmp'));
  const [from, to] = [project, alone].map(folder => join(folder, 'node_modules', 'keyledger'));
  cpSync(from as string, to as string, { recursive: true });
  const source = `await import('keyledger').catch(({ message }) => console.log(message));`;
  writeFileSync(join(alone, 'load.js'), source);
  for (const runtime of ['bun', 'node']) {
    const output = await inside(`/usr/local/bin/${runtime}`, `/tmp/${basename(alone)}/load.js`);
    expect(output).toContain('- keyledger-linux-x64-musl@0.1.0: not installed');
    expect(output).toContain('npm install keyledger-linux-x64-musl@0.1.0');
  }
});
