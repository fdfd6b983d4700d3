/** What is in the packages, and that a wrong or missing binary keeps them from being made. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from '../../scripts/prepare.mjs';
import { dist, main, manifestOf, tarballs, version } from './registry.js';

const PLATFORMS = ['linux-x64-gnu', 'linux-x64-musl'];
const bin = (name: string) => join(root, 'node_modules', '.bin', name);

function contents(tarball: string): string[] {
  const list = execFileSync('tar', ['-tzf', join(dist, tarball)], { encoding: 'utf8' });
  return list
    .trim()
    .split('\n')
    .map(path => path.replace(/^package\//, ''))
    .sort();
}

test('each package holds just what it should', () => {
  const names = ['cache', 'errors', 'exit', 'front', 'ledger', 'log', 'native', 'settings'];
  const modules = ['load.cjs', ...[...names, 'values', 'writer'].map(name => `${name}.js`)];
  const texts = ['LICENSE', 'README.md', 'package.json'];
  const faces = ['cache.d.ts', 'cache.js', 'index.d.ts', 'index.js'];
  expect(contents(main)).toEqual(
    [...modules.map(name => `lib/${name}`), ...texts, ...faces].sort(),
  );
  for (const platform of PLATFORMS) {
    const files = [`keyledger.${platform}.node`, 'LICENSE', 'README.md', 'package.json'];
    expect(contents(`keyledger-${platform}-${version}.tgz`)).toEqual(files.sort());
  }
  expect(tarballs).toHaveLength(1 + PLATFORMS.length);
});

test('the main package needs no script and nothing but the binary, at its own version', () => {
  const manifest = manifestOf(main);
  expect(manifest).not.toHaveProperty('scripts');
  expect(manifest).not.toHaveProperty('dependencies');
  const platforms = Object.keys(manifest.optionalDependencies as object);
  expect(platforms).toHaveLength(7);
  expect(new Set(Object.values(manifest.optionalDependencies as object))).toEqual(
    new Set([version]),
  );
  // The loader has a branch for each.
  const loader = readFileSync(join(root, 'lib', 'load.cjs'), 'utf8');
  for (const platform of platforms) expect(loader).toContain(`require('${platform}')`);
});

test('each platform says what it is for', () => {
  expect(manifestOf(`keyledger-linux-x64-musl-${version}.tgz`)).toMatchObject({
    version,
    main: 'keyledger.linux-x64-musl.node',
    os: ['linux'],
    cpu: ['x64'],
    libc: ['musl'],
  });
});

/** Makes packages of the binaries in a folder of its own. */
function packFrom(binaries: Record<string, Uint8Array>) {
  const folder = mkdtempSync(join(tmpdir(), 'keyledger-packages-'));
  try {
    for (const [platform, bytes] of Object.entries(binaries)) {
      writeFileSync(join(folder, `keyledger.${platform}.node`), bytes);
    }
    const args = [join(root, 'scripts', 'pack.mjs'), folder];
    return spawnSync(process.execPath, args, { encoding: 'utf8' });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
const binary = (platform: string) =>
  readFileSync(join(root, 'artifacts', `keyledger.${platform}.node`));

test('no packages are made while a binary is missing', () => {
  const { status, stderr } = packFrom({ 'linux-x64-gnu': binary('linux-x64-gnu') });
  expect(status).toBe(1);
  for (const platform of ['darwin-arm64', 'linux-x64-musl', 'win32-x64-msvc']) {
    expect(stderr).toContain(`- ${platform}: there is no binary`);
  }
  expect(stderr).not.toContain('linux-x64-gnu');
});

test('nor of a binary that is for another platform', () => {
  const gnu = binary('linux-x64-gnu');
  const { status, stderr } = packFrom({
    'darwin-arm64': gnu,
    'darwin-x64': gnu,
    'linux-arm64-gnu': gnu,
    'linux-arm64-musl': binary('linux-x64-musl'),
    'linux-x64-gnu': binary('linux-x64-musl'),
    'linux-x64-musl': gnu,
    'win32-x64-msvc': gnu,
  });
  expect(status).toBe(1);
  for (const platform of ['darwin-arm64', 'darwin-x64', 'linux-arm64-gnu', 'win32-x64-msvc']) {
    expect(stderr).toContain(`- ${platform}: it is no binary for ${platform}`);
  }
  expect(stderr).toContain('- linux-x64-gnu: it does not need glibc');
  expect(stderr).toContain('- linux-x64-musl: it needs glibc');
});

test('nor of one that needs a newer glibc, or is for an arm64 Windows', () => {
  const newer = Buffer.concat([binary('linux-x64-gnu'), Buffer.from('GLIBC_2.34')]);
  const windows = Buffer.alloc(0x100);
  windows.write('MZ');
  windows.writeUInt32LE(0x80, 0x3c);
  windows.writeUInt16LE(0xaa64, 0x84);
  const { stderr } = packFrom({ 'linux-x64-gnu': newer, 'win32-x64-msvc': windows });
  expect(stderr).toContain('- linux-x64-gnu: it needs glibc 2.34, not 2.17');
  expect(stderr).toContain('- win32-x64-msvc: it is no binary for win32-x64-msvc');
});

test('the binaries tell nothing of where they were built', () => {
  for (const platform of PLATFORMS) {
    const text = binary(platform).toString('latin1');
    expect(text).not.toContain(root);
    expect(text).not.toContain(join(homedir(), '.cargo'));
  }
});

test('publint and attw find nothing', () => {
  const run = (name: string, ...args: string[]) =>
    spawnSync(bin(name), [...args, join(dist, main)], { encoding: 'utf8' });
  const publint = run('publint', '--strict');
  expect(publint.stdout + publint.stderr).toContain('All good!');
  const attw = run('attw', '--profile', 'esm-only', '--format', 'ascii', '--no-color');
  expect([attw.status, attw.stdout]).toEqual([0, expect.stringContaining('bundler: 🟢')]);
});
