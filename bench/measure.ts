// What the benchmarks share: data, two implementations side by side, medians and tables.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import type * as Keyledger from '../index.js';

export type Storage = typeof Keyledger;

/**
 * One row of a table: what was measured for both and for others on the same job, and the bound on it, where an issue
 * sets one.
 */
export interface Row {
  what: string;
  keyledger: string;
  baseline: string;
  Map?: string;
  'lru-cache'?: string;
  sqlite?: string;
  lmdb?: string;
  ratio?: string;
  bound?: string;
  met?: boolean;
}

/** Where everything is stored that is measured. Away when the process ends. */
export const folder = mkdtempSync(join(tmpdir(), 'keyledger-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** Evaluates one of the two on a data file of its own, with these settings. */
export async function load(
  name: 'keyledger' | 'baseline',
  run: string,
  settings: Record<string, string> = {},
): Promise<Storage & { file: string }> {
  const file = join(folder, `${name}-${run}`, 'apikeys.json');
  Object.assign(process.env, settings, { DATA_FILE: file });
  const module = name === 'keyledger' ? '../index.js' : './baseline/storage.ts';
  const storage = (await import(`${module}?${run}`)) as Storage;
  // The baseline's cache is a module of its own, which is not evaluated again.
  storage.apiKeyCache.clear();
  storage.apiKeyCache.resetStats();
  return { ...storage, file };
}

/** What the benchmarks of writing time. */
export interface Updater {
  /** Adds one token to a key's usage. */
  update(key: string): Promise<unknown>;
  /** The sum of all lifetime totals, as they are stored. */
  total(): number;
}

/** The same of one of the two. */
export function updaterOf(storage: Storage & { file: string }): Updater {
  return {
    update: key => storage.updateApiKeyUsage(key, 1, 'glm-4.7'),
    total: () => total(JSON.parse(readFileSync(storage.file, 'utf8'))),
  };
}

/** The sum of all lifetime totals. */
export function total({ keys }: Keyledger.ApiKeysData): number {
  return keys.reduce((sum, key) => sum + key.total_lifetime_tokens, 0);
}

let seed = 1;
/** A repeatable random number from 0 to 1 (mulberry32). */
export function random(): number {
  seed = (seed + 0x6d2b79f5) | 0;
  let x = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
  return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
}

/** A key of 20 to 40 characters. */
export function makeKey(): string {
  let key = 'sk-';
  const length = 20 + Math.floor(random() * 21);
  while (key.length < length) key += Math.floor(random() * 36).toString(36);
  return key;
}

/** A file of `count` keys, about 430 bytes each. */
export function makeData(count: number): Keyledger.ApiKeysData {
  return {
    keys: Array.from({ length: count }, (_, number) => ({
      key: makeKey(),
      name: `user ${number}`,
      model: 'glm-4.7',
      token_limit_per_5h: 1_000_000,
      expiry_date: '2099-12-31T23:59:59.000Z',
      created_at: '2026-01-01T00:00:00.000Z',
      last_used: '2026-01-01T00:00:00.000Z',
      total_lifetime_tokens: number,
      usage_windows: [{ window_start: '2026-01-01T00:00:00.000Z', tokens_used: number }],
    })),
  };
}

/** A copy that was not used as a key before, as one that comes with a request. */
export function asRequested(key: string): string {
  return Buffer.from(key).toString();
}

export function median(numbers: number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/**
 * A loop that awaits `call(key)` for every key, as a function of its own for each that is measured, so that neither
 * runs on what the engine learned from the other. Gives nanoseconds per call.
 */
export function loopOver(
  call: (key: string) => Promise<unknown>,
  keys: string[],
): (rounds: number) => Promise<number> {
  const source = `return async rounds => {
    const start = performance.now();
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < keys.length; i++) await call(keys[i]);
    }
    return (performance.now() - start) * 1e6 / (rounds * keys.length);
  }`;
  return new Function('call', 'keys', source)(call, keys);
}

/** The longest time in milliseconds between two turns of the event loop while `work` is under way. */
export async function longestStop(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  let done = false;
  const turn = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (!done) setImmediate(turn);
  };
  setImmediate(turn);
  await work();
  done = true;
  turn();
  return longest;
}

/** Runs the measurements in turn, A B A B, and gives the median of each. */
export async function inTurn(runs: number, ...measures: (() => Promise<number>)[]) {
  const results: number[][] = measures.map(() => []);
  for (let run = 0; run < runs; run++) {
    for (const [index, measure] of measures.entries()) results[index]?.push(await measure());
  }
  return results.map(median);
}

/** A row whose figure is the ratio of the two, to be at most `bound`. */
export function compare(
  what: string,
  [keyledger, baseline]: number[],
  unit: string,
  bound?: number,
): Row {
  const ratio = Number(keyledger) / Number(baseline);
  const row = { what, keyledger: show(keyledger, unit), baseline: show(baseline, unit) };
  const verdict = bound === undefined ? {} : { bound: `≤ ${bound}x`, met: ratio <= bound };
  return { ...row, ratio: `${ratio.toPrecision(2)}x`, ...verdict };
}

export function show(value: number | undefined, unit: string): string {
  return value === undefined ? '-' : `${Number(value.toPrecision(3))} ${unit}`;
}

/** Prints the rows for `bench/run.mjs`, which makes a table of them. */
export function finish(rows: Row[]): void {
  process.stdout.write(`${JSON.stringify(rows)}\n`);
}

/** Stops a benchmark whose answers are wrong: what is wrong is not worth timing. */
export function check(right: boolean, what: string): void {
  if (!right) throw new Error(`wrong answer: ${what}`);
}
