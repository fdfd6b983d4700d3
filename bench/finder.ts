// A process of `lookups.ts`: the store of DRIVER in FOLDER, which holds COUNT keys, and lookups in it. Answers how many
// nanoseconds one took.
import { serve } from './child.ts';
import { driverOf, type Store } from './drivers.ts';
import { asRequested, check, loopOver, makeData, makeKey, median, shuffled } from './measure.ts';

/** What to do. `check` is for a process in which nothing is timed. */
export type Question = 'check' | 'first' | 'load' | 'hit' | 'hit, any' | 'unknown' | 'miss';

const FEW = 10;
/** Lookups that are timed together, so many times. */
const CALLS = 10_000;
const RUNS = 7;
/** A miss of the baseline reads the whole file: no more of them than this takes, in milliseconds. */
const PATIENCE = 1000;
/** In milliseconds: one lookup that takes as long reads the whole file. */
const SLOW = 5;

const { DRIVER: name = '', FOLDER: folder = '', COUNT: count = '' } = process.env;
const driver = driverOf(name);
const data = makeData(Number(count));
const records = new Map(data.keys.map(record => [record.key, record]));
const known = data.keys.map(({ key }) => asRequested(key));
const few = known.filter((_, i) => i % (known.length / FEW) === 0);
const any = shuffled(known).slice(0, 2 * CALLS);
const unknown = Array.from({ length: CALLS }, () => asRequested(makeKey()));
/** They must be new ones each time. */
function renew() {
  for (const i of unknown.keys()) unknown[i] = asRequested(makeKey());
}

const cold = process.env.COLD !== undefined;
const store: Store = await (cold && driver.openCold
  ? driver.openCold(folder)
  : driver.open(folder));
const find = store.find as (key: string) => Promise<unknown>;
// To have read the file belongs to no miss.
if (cold) await find(unknown[0] as string);

/** Nanoseconds for each lookup: the median of several runs, for each of which `fill` may put other keys in. */
async function time(keys: string[], fill?: () => void): Promise<number> {
  fill?.();
  let one = await once(() => find(keys[0] as string));
  if (one < SLOW * 1e6) {
    for (const key of keys.slice(1, FEW)) one = Math.min(one, await once(() => find(key)));
  }
  const calls = Math.floor(Math.min(CALLS, (PATIENCE * 1e6) / one));
  if (calls < CALLS) {
    // The first may have become a hit by now.
    const loop = loopOver(find, keys.slice(1, 1 + Math.max(3, calls)));
    const rounds = Math.floor(calls / keys.length);
    // Unknown keys are known the second time.
    if (fill || rounds < 2) return loop(1);
    await loop(1);
    return loop(rounds);
  }
  const loop = loopOver(find, keys);
  const results: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    fill?.();
    results.push(await loop(Math.ceil(CALLS / keys.length)));
  }
  return median(results);
}

async function once(work: () => unknown): Promise<number> {
  const begun = performance.now();
  await work();
  return (performance.now() - begun) * 1e6;
}

/** Whether the lookups that will be timed are answered right, and from where they are to be answered. */
async function checkAll() {
  if (!cold) await store.load?.();
  const some = cold ? few : [...few, ...any.slice(0, CALLS)];
  await checkLookups(some, cold ? 'misses' : 'hits');
  await checkLookups(unknown.slice(0, 3), 'misses');
}

async function checkLookups(keys: string[], counted: 'hits' | 'misses') {
  const before = await store.counters?.();
  for (const key of keys) {
    const right = JSON.stringify(records.get(key) ?? null);
    check(JSON.stringify((await find(key)) ?? null) === right, `${name} finds ${key}`);
  }
  const after = await store.counters?.();
  const grown = Number(after?.[counted]) - Number(before?.[counted]);
  check(!store.counters || grown === keys.length, `${name} counts ${grown} ${counted}`);
}

const works: Record<Question, () => Promise<number>> = {
  check: () => once(checkAll),
  first: async () => {
    // By then the start has left nothing to do.
    await new Promise(resolve => setTimeout(resolve, 500));
    return once(() => find(known[known.length >> 1] as string));
  },
  load: () => once(() => store.load?.()),
  hit: () => time(few),
  'hit, any': () => time(any),
  unknown: () => time(unknown, renew),
  miss: () => time(few),
};

await serve((question: Question) => works[question]());
