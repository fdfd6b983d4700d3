/** the contract: the row of the table at the end on a flood of unknown keys. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cleanUp, sampleKey, save, tempFolder } from '../helpers.ts';
import { median, RUNTIME, run } from './programs.ts';
import { full, times } from './stress.ts';

const VALID = Array.from({ length: 100 }, (_, n) => `sk-valid-${n}`);
const ROUNDS = times(12, 100);
/** Of valid lookups in each round, with so many unknown keys before each. */
const BATCHES = times(625, 2500);
const EACH = 4;
/** Of a few lookups on a machine that runs other tests at the same time the slowest tell nothing. */
const PERCENTILE = times(90, 99);
const UNKNOWN = ROUNDS * BATCHES * EACH;

/** What `flood-run.mjs` prints. */
interface Report {
  unknown: number;
  bytes: number;
  lookups: number;
  hits: number;
  misses: number;
  wrong: number;
  sizes: { valid: number; long: number; most: number };
  slow: { flooded: number[]; quiet: number[] };
  memory: { bytes: number; rss: number }[];
}

describe.each([
  ['CACHE_MAX_SIZE by default', 1000, {}],
  ['CACHE_MAX_SIZE=150', 150, { CACHE_MAX_SIZE: '150' }],
])(`in a flood of ${UNKNOWN} unknown keys, with %s,`, (what, maxSize, env) => {
  let report: Report;

  beforeAll(async () => {
    const file = join(tempFolder(), 'apikeys.json');
    save(
      file,
      VALID.map(key => sampleKey(key)),
    );
    const job = {
      valid: VALID,
      rounds: ROUNDS,
      batches: BATCHES,
      each: EACH,
      percentile: PERCENTILE,
    };
    report = await run<Report>('flood-run.mjs', job, { DATA_FILE: file, ...env });
    if (!full) return;
    const { slow, ...rest } = report;
    const medians = { flooded: median(slow.flooded), quiet: median(slow.quiet) };
    console.log(RUNTIME, what, JSON.stringify({ ...rest, p99: medians }));
  }, 300_000);
  afterAll(cleanUp);

  it('valid keys are hits, 99 % of them at the least, and answered with the same objects', () => {
    const { unknown, lookups, hits, misses, wrong } = report;
    expect(unknown).toBeGreaterThanOrEqual(UNKNOWN);
    expect(hits + misses).toBe(lookups);
    expect(hits / lookups).toBeGreaterThanOrEqual(0.99);
    expect(wrong).toBe(0);
  });

  it('the cache is full at most, and has none of the keys that are too long for it', () => {
    const { sizes } = report;
    expect(sizes).toEqual({ valid: VALID.length, long: VALID.length, most: maxSize });
  });

  it(`the ${PERCENTILE}th percentile of valid lookups is at most twice that without it`, () => {
    const { flooded, quiet } = report.slow;
    // In the short form a busy machine shows in most of the few rounds.
    const typical = (rounds: number[]) => (full ? median(rounds) : Math.min(...rounds));
    expect(typical(flooded)).toBeLessThan(2 * typical(quiet));
  });

  // Before that the runtimes themselves still grow by more than the keys of the flood are long.
  it.skipIf(!full)('memory does not grow with the number of keys (in the full form)', () => {
    const [first, last] = [report.memory[0], report.memory.at(-1)];
    if (!first || !last) throw new Error('memory was not measured');
    expect(last.rss - first.rss).toBeLessThan((last.bytes - first.bytes) / 4);
  });
});
