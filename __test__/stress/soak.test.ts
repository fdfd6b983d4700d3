/** the contract, 'Exports': ten million calls of everything, mixed, in one process are answered right and leave nothing behind. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cleanUp, sampleKey, save, tempFolder } from '../helpers.ts';
import { quarters, RUNTIME, run } from './programs.ts';
import { full, times } from './stress.ts';

const LIMIT_MS = 1_200_000;
const KEYS = 300;
const CALLS = times(120_000, 10_000_000);
/** Of what the process occupies, as often between two of them. */
const SAMPLES = times(20, 80);
/** Calls between the second and the last quarter. */
const BETWEEN = CALLS / 2;
const SETTINGS = {
  // Fewer than the keys, so that entries make room for each other.
  CACHE_MAX_SIZE: '200',
  CACHE_TTL_MS: '1000',
  CACHE_REVALIDATE_MS: '10',
};
/**
 * By how many bytes the process, and the heap of the runtime, may grow for each call. The least that could be left behind by
 * each lookup is a pointer, of eight bytes. Until the runtimes have compiled what is called they grow too.
 */
const MOST_GROWTH = { rss: 1, heapUsed: times(8, 0.2) };
/** Threads by which the pools of the runtimes may grow. */
const MOST_THREADS = 2;
/** Ledgers that a runtime may take for used, of those that were opened last. */
const MOST_LEDGERS = 3;

/** What `soak-run.mjs` prints. */
interface Report {
  faults: string[];
  calls: number;
  mix: Record<string, number>;
  updates: number;
  hits: number;
  misses: number;
  opened: number;
  collected: number;
  rss: number[];
  heapUsed: number[];
  files: number[];
  threads: number[];
  seconds: number;
}

/** The least in the second and in the last quarter. What was left behind is in it, what comes and goes is not. */
function floors(numbers: number[]) {
  const [, second = [], , last = []] = quarters(numbers);
  return { second: Math.min(...second), last: Math.min(...last) };
}

function growth(numbers: number[]): number {
  const { second, last } = floors(numbers);
  return last - second;
}

describe(`a soak of ${CALLS} mixed calls`, () => {
  let report: Report;

  beforeAll(async () => {
    const file = join(tempFolder(), 'apikeys.json');
    save(
      file,
      Array.from({ length: KEYS }, (_, n) => sampleKey(`sk-${n}`)),
    );
    const job = { calls: CALLS, samples: SAMPLES };
    report = await run<Report>('soak-run.mjs', job, { DATA_FILE: file, ...SETTINGS });
    if (!full) return;
    const { rss, heapUsed, files, threads, ...rest } = report;
    const measured = Object.entries({ rss, heapUsed, files, threads });
    const least = Object.fromEntries(measured.map(([name, all]) => [name, floors(all)]));
    console.log(RUNTIME, JSON.stringify({ ...rest, ...least }));
  }, LIMIT_MS);
  afterAll(cleanUp);

  it('is answered right, and the file has all that was recorded, once', () => {
    expect(report.faults).toEqual([]);
    expect(report.calls).toBeGreaterThanOrEqual(CALLS);
  });

  it('leaves nothing behind in the heap of the runtime', () => {
    expect(growth(report.heapUsed)).toBeLessThan(MOST_GROWTH.heapUsed * BETWEEN);
  });

  // Before that the runtimes themselves still grow.
  it.skipIf(!full)('leaves nothing behind in the process (in the full form)', () => {
    expect(growth(report.rss)).toBeLessThan(MOST_GROWTH.rss * BETWEEN);
  });

  it('leaves no ledger behind that was opened on the way', () => {
    expect(report.opened).toBeGreaterThan(2 * MOST_LEDGERS);
    expect(report.opened - report.collected).toBeLessThanOrEqual(MOST_LEDGERS);
  });

  it.skipIf(process.platform !== 'linux')('leaves no open files and no threads behind', () => {
    expect(growth(report.files)).toBeLessThanOrEqual(0);
    expect(growth(report.threads)).toBeLessThanOrEqual(MOST_THREADS);
  });
});
