/** the contract: 'Recording usage' and `withLock`, when worker threads that use the store come and go, one after the other. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cleanUp, sampleKey, save, tempFolder } from '../helpers.ts';
import { median, quarters, RUNTIME, run } from './programs.ts';
import { full, times } from './stress.ts';

const LIMIT_MS = 900_000;
const KEYS = 1000;
const CYCLES = times(20, 1000);
/**
 * By how much more than with workers that do not load keyledger a process may grow between the second and the last quarter
 * of the cycles, in bytes: chance, and for each cycle. The objects of one worker's cache are more than ten times that.
 */
const MOST_GROWTH = 6_000_000 + (20_000 * CYCLES) / 2;
/** Threads by which the pools of the runtimes may grow. */
const MOST_THREADS = 2;

/** What `workers-run.mjs` prints. */
interface Report {
  faults: string[];
  interrupted: number;
  rss: number[];
  files: number[];
  threads: number[];
  seconds: number;
}

async function cycles(what: string, job: object): Promise<Report> {
  const file = join(tempFolder(), 'apikeys.json');
  save(
    file,
    Array.from({ length: KEYS }, (_, n) => sampleKey(`key-${n}`)),
  );
  // The next one must have the lock at once.
  const settings = { DATA_FILE: file, LOCK_TIMEOUT_MS: '5000' };
  const report = await run<Report>('workers-run.mjs', { ...job, cycles: CYCLES }, settings);
  if (full) {
    const { rss, files, threads, ...rest } = report;
    const figures = Object.entries({ rss, files, threads }).map(([name, all]) => [
      name,
      quarters(all).map(median),
    ]);
    console.log(RUNTIME, what, JSON.stringify({ ...rest, ...Object.fromEntries(figures) }));
  }
  return report;
}

function growth({ rss }: Report): number {
  const [, second = Number.NaN, , last = Number.NaN] = quarters(rss).map(median);
  return last - second;
}

const bun = process.versions.bun !== undefined;
const KINDS = [
  { kind: 'worker threads', own: false, skip: false },
  {
    kind: `workers of Bun's own${bun ? '' : ' (skipped: this is not Bun)'}`,
    own: true,
    skip: !bun,
  },
];

for (const { kind, own, skip } of KINDS)
  describe.skipIf(skip)(`${CYCLES} ${kind}, one after the other,`, () => {
    let control: Report;
    beforeAll(async () => {
      control = await cycles(`${kind} without keyledger`, { own, uses: false, loads: false });
    }, LIMIT_MS);
    afterAll(cleanUp);

    describe.each([
      ['that use the store with the main thread', true],
      // On Node.js the addon may be unloaded after each of them.
      ['that alone use the store', false],
    ])('%s', (what, loads) => {
      let report: Report;
      beforeAll(async () => {
        report = await cycles(`${kind} ${what}`, { own, uses: true, loads });
      }, LIMIT_MS);

      it('leave in the file what resolved, once, and nothing beside it, however they end', () => {
        expect(report.faults).toEqual([]);
        expect(report.rss.length).toBe(CYCLES);
      });

      it.skipIf(!full)('were terminated in the middle of updates (in the full form)', () => {
        expect(report.interrupted).toBeGreaterThan(CYCLES / 20);
      });

      it('leave no memory behind', () => {
        expect(growth(report) - growth(control)).toBeLessThan(MOST_GROWTH);
      });

      it.skipIf(process.platform !== 'linux')('leave no open files and no threads behind', () => {
        const [files = [], , , filesLast = []] = quarters(report.files);
        const [threads = [], , , threadsLast = []] = quarters(report.threads);
        // One that is just ending may still have some.
        expect(Math.min(...filesLast)).toBeLessThanOrEqual(Math.max(...files));
        expect(Math.min(...threadsLast)).toBeLessThanOrEqual(Math.max(...threads) + MOST_THREADS);
      });
    });
  });
