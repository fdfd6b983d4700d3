/** In what Alpine has: musl and no `ldd`; Bun from its package, and Node.js. */
import { cpSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { muslRoot } from '../../scripts/musl.mjs';
import { installByBun, makeProject, run, useRegistry, version } from './registry.js';

const system = muslRoot();
/** Mounts that end with the command, whatever ends it. */
const MOUNT = 'mount --bind /proc "$0/proc" && mount --bind /dev "$0/dev" && exec chroot "$0" "$@"';
const RUNTIMES = ['bun', 'node'];
useRegistry();

let project: string;
/** The project as that system sees it. */
let cwd: string;

/** Runs one of its runtimes. */
function inside(runtime: string, ...args: string[]): Promise<string> {
  const env = {
    BUN_INSTALL_CACHE_DIR: `${cwd}/.bun`,
    DATA_FILE: `${cwd}/apikeys.json`,
    HOME: '/tmp',
  };
  const command = `/usr/local/bin/${runtime}`;
  return run('/', env, 'unshare', '--mount', 'sh', '-c', MOUNT, system, command, ...args);
}

beforeAll(async () => {
  project = makeProject('module', join(system, 'tmp'));
  cwd = `/tmp/${basename(project)}`;
  await installByBun(project, (...args) => inside('bun', ...args, '--cwd', cwd));
});

/** Records a use of a key, and tells which binary was loaded. */
const USE = `
  import fs from 'node:fs';
  import { findApiKey, updateApiKeyUsage } from 'keyledger';
  await updateApiKeyUsage('sk-a', 41, 'm');
  const maps = fs.readFileSync('/proc/self/maps', 'utf8');
  console.log(JSON.stringify({
    total: (await findApiKey('sk-a')).total_lifetime_tokens,
    libraries: ['/lib/ld-musl-', 'linux-x64-musl.node', 'linux-x64-gnu.node'].filter(name => maps.includes(name)),
  }));`;
const USED = { total: 42, libraries: ['/lib/ld-musl-', 'linux-x64-musl.node'] };

beforeEach(() => {
  const record = { key: 'sk-a', name: 'A', total_lifetime_tokens: 1, usage_windows: [] };
  writeFileSync(join(project, 'apikeys.json'), JSON.stringify({ keys: [record] }));
});

async function used(runtime: string): Promise<unknown> {
  writeFileSync(join(project, 'use.js'), USE);
  return JSON.parse(await inside(runtime, `${cwd}/use.js`));
}

test.each(RUNTIMES)('installed by Bun without scripts, it runs on %s', async runtime => {
  expect(readdirSync(join(project, 'node_modules'))).toEqual(
    expect.arrayContaining(['keyledger', 'keyledger-linux-x64-musl']),
  );
  expect(await used(runtime)).toEqual(USED);
});

test.each(RUNTIMES)('beside the binary for glibc it takes its own, on %s', async runtime => {
  const packages = join(project, 'node_modules');
  const other = join(packages, 'keyledger-linux-x64-gnu');
  const unpack = [
    '--strip-components=1',
    '-xzf',
    join('dist', `${basename(other)}-${version}.tgz`),
  ];
  await run('.', {}, 'mkdir', '-p', other);
  await run('.', {}, 'tar', '-C', other, ...unpack);
  expect(await used(runtime)).toEqual(USED);
});

test.each(RUNTIMES)('without it the error says what to install, on %s', async runtime => {
  const alone = makeProject('module', join(system, 'tmp'));
  const [from, to] = [project, alone].map(folder => join(folder, 'node_modules', 'keyledger'));
  cpSync(from as string, to as string, { recursive: true });
  const source = `await import('keyledger').catch(({ message }) => console.log(message));`;
  writeFileSync(join(alone, 'load.js'), source);
  const output = await inside(runtime, `/tmp/${basename(alone)}/load.js`);
  expect(output).toContain(`- keyledger-linux-x64-musl@${version}: not installed`);
  expect(output).toContain(`bun add --no-save keyledger-linux-x64-musl@${version}`);
});
