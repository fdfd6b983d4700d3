// A process of `stops.ts`: does a piece of work on the store of DRIVER in FOLDER, which holds COUNT keys, and answers for how
// many milliseconds that stopped the event loop.
import { pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';
import type { ApiKeysData } from '../index.js';
import { serve } from './child.ts';
import { driverOf, type Store } from './drivers.ts';
import { check, longestStop, makeData, makeKey } from './measure.ts';

/** Of the baseline each takes a quarter of a second where there are 100 000 keys. */
const LOOKUPS = 12;

const { DRIVER: name = '', FOLDER: folder = '', COUNT: count = '' } = process.env;
/** Made for each piece of work anew: what this process holds, the garbage collector has to go through. */
const makeAll = () => makeData(Number(count));
const all = makeAll().keys.map(({ key }) => key);
const keys = all.filter((_, i) => i % Math.floor(all.length / LOOKUPS) === 0).slice(0, LOOKUPS);
all.length = 0;
const driver = driverOf(name);
const store = await driver.open(folder);
const pause = () => new Promise(resolve => setImmediate(resolve));
const first = keys[LOOKUPS >> 1] as string;

async function findAll(isRight: (found: Awaited<ReturnType<Store['find']>>) => boolean) {
  for (const key of keys) {
    check(isRight(await store.find(key)), `${name} finds ${key}`);
    await pause();
  }
}

let whole: ApiKeysData | undefined;

interface Work {
  before?: () => unknown;
  work: () => unknown;
}

const works: Record<string, Work> = {
  'first lookup': { work: () => store.find(first) },
  'warm-up': { work: () => store.load?.() },
  'an update': { work: () => store.record?.(first) },
  'updates and lookups': {
    work: async () => {
      const updates: unknown[] = [];
      for (const key of keys) {
        updates.push(store.record?.(key));
        await store.find(key);
        await store.find(makeKey());
        await pause();
      }
      // The baseline gives up on most of them: that is not what is measured here.
      await Promise.allSettled(updates);
    },
  },
  'reload after an edit': {
    before: () => {
      const edited = makeAll().keys.map(record => ({ ...record, name: 'edited' }));
      return driver.make(folder, { keys: edited });
    },
    work: () => findAll(found => found?.name === 'edited'),
  },
  readApiKeys: { work: () => store.readAll?.() },
  writeApiKeys: {
    before: () => {
      whole = makeAll();
    },
    work: () => store.writeAll?.(whole as ApiKeysData),
  },
  /** What touches nothing of the loop's, on two threads of the pool. What stops then is the machine. */
  others: {
    work: () => {
      const work = () => promisify(pbkdf2)('password', 'salt', 60_000, 64, 'sha512');
      return Promise.all([work(), work()]);
    },
  },
};

await serve(async (question: string): Promise<number> => {
  const { before, work } = works[question] as Work;
  await before?.();
  // By then the start, or what came before, has left nothing to do.
  (globalThis as { gc?: () => void }).gc?.();
  await new Promise(resolve => setTimeout(resolve, 300));
  return longestStop(async () => work());
});
