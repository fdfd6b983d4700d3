// Runs the benchmarks (all, or those that are named) on each runtime: prints a table for each and writes it to
// `bench/results`, with a chart. Exits with 1 when a bound is not met. With `--check` it runs their short forms and compares
// ratios with those in `bench/bounds.json`, for CI: see `check.ts`.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { root } from '../scripts/prepare.mjs';
import { chart } from './chart.ts';
import { checkRatios, SHORT } from './check.ts';
import type { Row } from './measure.ts';
import { type Runtime, runtimes } from './runtimes.ts';
import { isMet, markdown } from './table.ts';

/** In the order of the docs. */
const ALL = [
  'lookups',
  'updates',
  'processes',
  'workers',
  'stops',
  'held',
  'memory',
  'limits',
  'gateway',
];
const FOLDER = join(root, 'bench', 'results');

/** What one benchmark gave. */
export interface Result {
  benchmark: string;
  machine: string;
  tables: { runtime: string; rows: Row[] }[];
}

function run(benchmark: string, { name, command, args }: Runtime, short: boolean): Row[] {
  const script = join(root, 'bench', `${benchmark}.ts`);
  const { status, stdout } = spawnSync(command, [...args, script], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, ...(short && { KEYLEDGER_BENCH: 'short' }) },
    maxBuffer: 2 ** 26,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) throw new Error(`${benchmark} failed on ${name}`);
  return JSON.parse(String(stdout.trim().split('\n').at(-1)));
}

const checks = process.argv.includes('--check');
const asked = process.argv.slice(2).filter(arg => arg !== '--check');
const known = checks ? SHORT : ALL;
for (const name of asked) {
  if (!known.includes(name))
    throw new Error(`there is no such benchmark: ${name}; there are ${known.join(', ')}`);
}
const machine = `${cpus().length} cores, ${cpus()[0]?.model}, ${process.platform}`;
const HEAD = `${machine}. Medians of several trials in turn, and from the least to the most of them.`;
console.log(HEAD);

let missed = 0;
for (const benchmark of asked.length > 0 ? asked : known) {
  const result: Result = { benchmark, machine, tables: [] };
  let text = `# ${benchmark}\n\n${HEAD}\n`;
  for (const runtime of runtimes(checks)) {
    const rows = run(benchmark, runtime, checks);
    result.tables.push({ runtime: runtime.name, rows });
    const table = `## ${benchmark}, ${runtime.name}\n\n${markdown(rows)}\n`;
    console.log(`\n${table}`);
    text += `\n${table}`;
    const wrong = (row: Row) => isMet(row) === false || typeof row.figures.keyledger === 'string';
    if (!checks) missed += rows.filter(wrong).length;
  }
  if (checks) {
    missed += checkRatios(result);
    continue;
  }
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(join(FOLDER, `${benchmark}.json`), `${JSON.stringify(result, null, 1)}\n`);
  writeFileSync(join(FOLDER, `${benchmark}.md`), text);
  writeFileSync(join(FOLDER, `${benchmark}.svg`), chart(result));
}
if (missed > 0) {
  console.log(`\n${missed} bounds are not met`);
  process.exitCode = 1;
}
