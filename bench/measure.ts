// What the benchmarks share: data, loops, medians, rows of tables.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import type * as Keyledger from '../index.js';

export type Storage = typeof Keyledger;

/** Whether only the short form was asked for (`npm run bench:check`). */
export const short: boolean = process.env.KEYLEDGER_BENCH === 'short';

/** What several trials gave. */
export interface Figure {
  median: number;
  least: number;
  most: number;
}

/**
 * One row of a table: by column a figure, or why there is none. `failed` tells of what went wrong while it was measured.
 */
export interface Row {
  what: string;
  unit: string;
  figures: Partial<Record<Column, Figure | string>>;
  failed?: Partial<Record<Column, string>>;
  bounds?: Bound[];
}

/** Who does the job, in the order of the tables; `limit` is what nobody can do without. */
export const COLUMNS = [
  'keyledger',
  'keyledger, unsynced',
  'baseline',
  'no storage',
  'Map',
  'lru-cache',
  'sqlite NORMAL',
  'sqlite FULL',
  'lmdb',
  'limit',
] as const;
export type Column = (typeof COLUMNS)[number];

/**
 * What the figure of keyledger (or of `on`) is held to: `limit` times that of another column, or else `limit` itself; at most,
 * or with `least` at least that.
 */
export interface Bound {
  limit: number;
  on?: Column;
  to?: Column;
  least?: true;
}

/** Where everything is stored that is measured. Away when the process ends. */
export const folder = mkdtempSync(join(tmpdir(), 'keyledger-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

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

/** A file of `count` keys, about 430 bytes each: the same in each process. */
export function makeData(count: number): Keyledger.ApiKeysData {
  seed = count;
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

/** The same in random order. */
export function shuffled<T>(values: T[]): T[] {
  const result = [...values];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j] as T, result[i] as T];
  }
  return result;
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

/** The median of several trials, and how far they lie apart. */
export function figure(numbers: number[]): Figure {
  return { median: median(numbers), least: Math.min(...numbers), most: Math.max(...numbers) };
}

/** How many times the one is the other. */
export function ratio(one: Figure, other: Figure): Figure {
  return {
    median: one.median / other.median,
    least: one.least / other.most,
    most: one.most / other.least,
  };
}

/** Runs the measurements in turn, A B A B, and gives the results of each. */
export async function inTurn(runs: number, ...measures: (() => Promise<number>)[]) {
  const results: number[][] = measures.map(() => []);
  for (let run = 0; run < runs; run++) {
    for (const [index, measure] of measures.entries()) results[index]?.push(await measure());
  }
  return results;
}

/** Prints the rows for `bench/run.mjs`, which makes a table of them. What is to be seen meanwhile goes to the standard error. */
export function finish(rows: Row[]): void {
  process.stdout.write(`${JSON.stringify(rows)}\n`);
}

/** Stops a benchmark whose answers are wrong: what is wrong is not worth timing. */
export function check(right: boolean, what: string): void {
  if (!right) throw new Error(`wrong answer: ${what}`);
}
