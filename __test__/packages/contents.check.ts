/** What is in the packages, and that a wrong or missing binary keeps them from being made. */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { faultOf } from '../../scripts/binary.mjs';
import { root } from '../../scripts/prepare.mjs';
import { dist, manifestOf, tarballs } from './registry.js';

const main = tarballs.find(name => /^keyledger-\d/.test(name)) ?? 'no main package';
const { version } = manifestOf(main);
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
  const modules = readdirSync(join(root, 'lib')).map(name => `lib/${name}`);
  const texts = ['LICENSE', 'README.md', 'package.json'];
  const faces = ['cache.d.ts', 'cache.js', 'index.d.ts', 'index.js'];
  expect(contents(main)).toEqual([...modules, ...texts, ...faces].sort());
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

test('no packages are made while a binary is missing', () => {
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts', 'pack.mjs')], {
    encoding: 'utf8',
  });
  expect(status).toBe(1);
  for (const platform of ['darwin-arm64', 'darwin-x64', 'linux-arm64-gnu', 'win32-x64-msvc']) {
    expect(stderr).toContain(`${platform}: there is no binary`);
  }
  expect(stderr).not.toContain('linux-x64');
});

test('nor of a binary that is for another platform', () => {
  const binary = (platform: string) => join(root, 'artifacts', `keyledger.${platform}.node`);
  expect(faultOf(binary('linux-x64-gnu'), 'linux-x64-gnu')).toBeUndefined();
  expect(faultOf(binary('linux-x64-musl'), 'linux-x64-musl')).toBeUndefined();
  expect(faultOf(binary('linux-x64-gnu'), 'linux-x64-musl')).toBe('it needs glibc');
  for (const platform of ['linux-arm64-gnu', 'darwin-x64', 'darwin-arm64', 'win32-x64-msvc']) {
    expect(faultOf(binary('linux-x64-gnu'), platform)).toBe(`it is no binary for ${platform}`);
  }
  const wrong = binary('linux-arm64-gnu');
  copyFileSync(binary('linux-x64-gnu'), wrong);
  try {
    const args = [join(root, 'scripts', 'pack.mjs'), '--built'];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    expect([status, stderr]).toEqual([1, expect.stringContaining('no binary for linux-arm64-gnu')]);
  } finally {
    rmSync(wrong);
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
