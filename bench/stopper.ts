// A process of `stops.ts`: does a piece of work on the store of DRIVER in FOLDER, which holds COUNT keys, and answers for how
// many milliseconds that stopped the event loop.
import { pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';
import { serve } from './child.ts';
import { driverOf, type Store } from './drivers.ts';
import { check, longestStop, makeData, makeKey } from './measure.ts';

const { DRIVER: name = '', FOLDER: folder = '', COUNT: count = '' } = process.env;
const data = makeData(Number(count));
const edited = { keys: data.keys.map(record => ({ ...record, name: 'edited' })) };
const keys = Array.from({ length: 50 }, (_, i) => {
  return data.keys[Math.floor((i * data.keys.length) / 50)]?.key as string;
});
const driver = driverOf(name);
const store = await driver.open(folder);
const pause = () => new Promise(resolve => setImmediate(resolve));
const first = keys[25] as string;

async function findAll(isRight: (found: Awaited<ReturnType<Store['find']>>) => boolean) {
  for (const key of keys) {
    check(isRight(await store.find(key)), `${name} finds ${key}`);
    await pause();
  }
}

interface Work {
  before?: () => unknown;
  work: () => unknown;
}

const works: Record<string, Work> = {
  'first lookup': { work: () => store.find(first) },
  'warm-up': { work: () => store.load?.() },
  'an update': { before: () => store.find(first), work: () => store.record?.(first) },
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
    before: async () => {
      await store.find(first);
      await driver.make(folder, edited);
    },
    work: () => findAll(found => found?.name === 'edited' || name === 'baseline'),
  },
  readApiKeys: { work: () => store.readAll?.() },
  writeApiKeys: { work: () => store.writeAll?.(data) },
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
  await new Promise(resolve => setTimeout(resolve, 300));
  return longestStop(async () => work());
});
