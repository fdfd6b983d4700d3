/** the contract: the row of the table at the end on pauses of the event loop. Gaps are compared with what JSON.parse of
 * the same file takes here and now, never with a time. */
import { readFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, type Ledger, load, open, sampleKey, save } from './helpers.ts';

afterEach(cleanUp);

const ROUNDS = 5;
const window = { window_start: '2099-01-01T00:00:00.000Z', tokens_used: 1 };
const keys = Array.from({ length: 10000 }, (_, n) =>
  sampleKey(`key-${n}`, { usage_windows: Array(10).fill(window) }),
);

/** The longest time, in milliseconds, for which the event loop did not come round while `work` was under way. */
async function longestGap(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  let ended = false;
  const look = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  };
  const rounds = (async () => {
    while (!ended) {
      await new Promise(resolve => setImmediate(resolve));
      look();
    }
  })();
  await work();
  look();
  ended = true;
  await rounds;
  return longest;
}

/** The median of several rounds: neither a round in which another process had the machine counts, nor a lucky one. */
async function median(round: () => Promise<number>): Promise<number> {
  const times = [];
  for (let n = 0; n < ROUNDS; n += 1) times.push(await round());
  return times.toSorted((a, b) => a - b)[(ROUNDS - 1) / 2] ?? Number.NaN;
}

async function parse(file: string): Promise<number> {
  const text = readFileSync(file, 'utf8');
  const start = performance.now();
  JSON.parse(text);
  return performance.now() - start;
}

/** A request comes in from the event loop; lookups that only await each other would keep it from coming round. */
async function requestFor(lookup: () => Promise<unknown>): Promise<void> {
  await new Promise(resolve => setImmediate(resolve));
  await lookup();
}

const works: [string, (ledger: Ledger) => Promise<unknown>][] = [
  ['a cold lookup', ({ findApiKey }) => findApiKey('key-5000')],
  ['a cold update', ({ updateApiKeyUsage }) => updateApiKeyUsage('key-5000', 1, 'model')],
  ['a cold warm-up', ({ warmupCache }) => warmupCache()],
  [
    'lookups and updates',
    async ({ findApiKey, updateApiKeyUsage }) => {
      for (let n = 0; n < 50; n += 1) {
        void updateApiKeyUsage(`key-${n}`, 1, 'model');
        await findApiKey(`key-${n * 7}`);
        await findApiKey(`unknown-${n}`);
      }
      await updateApiKeyUsage('key-1', 1, 'model');
    },
  ],
  [
    'a reload after an edit by somebody else',
    async ({ findApiKey, file }) => {
      for (let n = 0; n < 500; n += 1) await requestFor(() => findApiKey(`key-${n}`));
      await rename(`${file}.new`, file);
      await findApiKey('unknown');
      for (let n = 0; n < 500; n += 1) await requestFor(() => findApiKey(`key-${n}`));
    },
  ],
];

describe('the event loop goes on, far from standing still as long as one JSON.parse, during', () => {
  it.each(works)(
    '%s',
    async (_, work) => {
      const { file } = await open(keys);
      const parsing = await median(() => parse(file));
      const gap = await median(async () => {
        save(
          `${file}.new`,
          keys.map(entry => ({ ...entry, name: 'edited' })),
        );
        const ledger = { ...(await load({ DATA_FILE: file, CACHE_REVALIDATE_MS: '0' })), file };
        return longestGap(() => work(ledger));
      });
      expect(gap).toBeLessThan(parsing / 2);
    },
    60000,
  );
});
