// Where the time goes (`npm run bench:profile`): loops of one kind of call each under `perf record`, on Node.js, with an addon
// that has its symbols. Prints the share of each part, and the symbols that take most. Linux, with `perf` installed.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { prepare, root } from '../scripts/prepare.mjs';

const KINDS = ['hit', 'changed', 'miss', 'unknown', 'commit'];
const SYMBOLS = 8;

/** What runs on behalf of whom. @type {[string, RegExp][]} */
const PARTS = [
  ['the addon', /keyledger/],
  ['the kernel', /kernel|vdso/],
  ['JavaScript', /JIT|perf-\d+|\[unknown\]/],
  ['the engine', /node|bun/],
  ['libc', /\.so/],
];

/**
 * @param {string} command
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 */
function run(command, args, env) {
  const { status, stdout, error } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, ...env },
    maxBuffer: 2 ** 28,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  if (status !== 0) throw new Error(`${command} failed: ${error ?? `status ${status}`}`);
  return stdout;
}

/** @param {string} kind */
function profile(kind) {
  const folder = mkdtempSync(join(tmpdir(), 'keyledger-profile-'));
  try {
    const data = join(folder, 'perf.data');
    const loop = [process.execPath, '--import', 'tsx', join(root, 'bench', 'loop.ts'), kind];
    const ns = run('perf', ['record', '-o', data, '-F', '2000', ...loop], { FOLDER: folder });
    const report = [
      'report',
      '-i',
      data,
      '--stdio',
      '--sort',
      'dso,symbol',
      '-t',
      '|',
      '-F',
      'overhead,dso,symbol',
    ];
    const lines = run('perf', report)
      .split('\n')
      .map(line => /^ *([\d.]+)%? *\| *(.*?) *\| *(?:\[.\] )?(.*?) *(?:\|.*)?$/.exec(line))
      .flatMap(match =>
        match ? [{ share: Number(match[1]), dso: match[2] ?? '', symbol: match[3] ?? '' }] : [],
      )
      .sort((a, b) => b.share - a.share);
    console.log(`\n### ${kind}: ${ns.trim().split('\n').at(-1)}\n`);
    /** @type {Map<string, number>} */
    const shares = new Map();
    for (const { share, dso } of lines) {
      const part = PARTS.find(([, pattern]) => pattern.test(dso))?.[0] ?? 'others';
      shares.set(part, (shares.get(part) ?? 0) + share);
    }
    for (const [part, share] of [...shares].sort((a, b) => b[1] - a[1])) {
      console.log(`${share.toFixed(1).padStart(6)} %  ${part}`);
    }
    console.log();
    for (const { share, dso, symbol } of lines.slice(0, SYMBOLS)) {
      console.log(`${share.toFixed(1).padStart(6)} %  ${symbol} (${dso})`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

prepare();
try {
  const env = { CARGO_PROFILE_RELEASE_STRIP: 'none', CARGO_PROFILE_RELEASE_DEBUG: '1' };
  run('npm', ['run', 'build'], env);
  for (const kind of process.argv.length > 2 ? process.argv.slice(2) : KINDS) profile(kind);
} finally {
  execFileSync('npm', ['run', 'build'], { cwd: root, stdio: 'ignore' });
}
