// A process of `lookups.ts`: the store of DRIVER in FOLDER, which holds COUNT keys, and lookups in it. Answers how many
// nanoseconds one took.
import { serve } from './child.ts';
import { driverOf, type Store } from './drivers.ts';
import { asRequested, check, loopOver, makeData, makeKey, median, shuffled } from './measure.ts';

/** What to do. `check` is for a process in which nothing is timed. */
export type Question = 'check' | 'first' | 'load' | 'hit' | 'hit, any' | 'unknown' | 'miss';

const FEW = 10;
/** Lookups that are timed together, so many times. */
const CALLS = 5000;
const RUNS = 9;
/** A miss of the baseline reads the whole file: no more of them than this takes, in milliseconds. */
const PATIENCE = 1000;
/** One that takes so many milliseconds is no chance, nor a matter of what the engine has compiled. */
const SLOW = 10;

const { DRIVER: name = '', FOLDER: folder = '', COUNT: count = '' } = process.env;
const driver = driverOf(name);
const data = makeData(Number(count));
const records = new Map(data.keys.map(record => [record.key, record]));
const known = data.keys.map(({ key }) => asRequested(key));
const few = known.filter((_, i) => i % (known.length / FEW) === 0);
const any = shuffled(known);
const unknown = () => Array.from({ length: CALLS }, () => asRequested(makeKey()));

const cold = process.env.COLD !== undefined;
const store: Store = await (cold && driver.openCold
  ? driver.openCold(folder)
  : driver.open(folder));
const find = store.find as (key: string) => Promise<unknown>;

/** Nanoseconds for each lookup: the median of several runs, for each of which `keysOf` gives the keys. */
async function time(keysOf: () => string[]): Promise<number> {
  const first: number[] = [];
  for (const key of keysOf().slice(0, 5)) {
    first.push(await once(() => find(key)));
    if ((first[0] as number) > SLOW * 1e6) break;
  }
  const affordable = Math.floor((PATIENCE * 1e6) / Math.min(...first));
  const results: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    const keys = keysOf().slice(0, Math.max(3, affordable));
    const rounds = Math.min(CALLS, affordable) / keys.length;
    results.push(await loopOver(find, keys)(Math.max(1, Math.floor(rounds))));
    if (affordable < CALLS) break;
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
  await checkLookups(unknown().slice(0, 3), 'misses');
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
  first: () => once(() => find(known[known.length >> 1] as string)),
  load: () => once(() => store.load?.()),
  hit: () => time(() => few),
  'hit, any': () => time(() => any),
  unknown: () => time(unknown),
  miss: () => time(() => few),
};

await serve((question: Question) => works[question]());
