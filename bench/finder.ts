// A process of `scale.ts`: looks keys up in stores of COUNT keys. Asked for a kind of lookup, it answers with the
// nanoseconds that a call takes in each store.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { serve } from './child.ts';
import {
  asRequested,
  check,
  folder,
  load,
  loopOver,
  makeData,
  makeKey,
  median,
  random,
  type Storage,
} from './measure.ts';
import { drivers, stores } from './peers.ts';

const FEW = 10;
/** The calls of one turn; at least one for each key. */
const CALLS = { few: 5000, all: 20_000 };
const count = Number(process.env.COUNT);
const data = makeData(count);
const records = new Map(data.keys.map(record => [record.key, record]));

type Find = (key: string) => unknown;
type Loop = ReturnType<typeof loopOver>;
export type Question = [kind: 'hit' | 'asked' | 'cold' | 'unknown', keys: 'few' | 'all'];
/** Nanoseconds by the store's name. */
export type Answer = Record<string, number>;

function shuffled(keys: string[]): string[] {
  for (let i = keys.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [keys[i], keys[j]] = [keys[j] as string, keys[i] as string];
  }
  return keys;
}

/** The keys in turn: a few of those in the file, all of them in random order, and such as are not in it. */
const known = {
  few: data.keys.filter((_, i) => i % (count / FEW) === 0).map(({ key }) => asRequested(key)),
  all: shuffled(data.keys.map(({ key }) => asRequested(key))),
};
const all = Array.from({ length: CALLS.all }, () => asRequested(makeKey()));
const unknown = { few: all.slice(0, FEW), all };

/** A miss of the baseline reads the whole file: a few of them will do, before its cache is filled for good. */
async function missOf(storage: Storage, keys: string[]): Promise<Answer> {
  const times: number[] = [];
  for (const key of keys.slice(0, 5)) {
    storage.apiKeyCache.clear();
    times.push(await loopOver(storage.findApiKey, [key])(1));
  }
  storage.apiKeyCache.clear();
  return { baseline: median(times) };
}

const baseline = await load('baseline', 'finder', { CACHE_MAX_SIZE: `${count}` });
const hot = await load('keyledger', 'hot');
// Room for fewer than the keys in turn: each is gone before its turn comes again.
const cold = await load('keyledger', 'cold', { CACHE_MAX_SIZE: `${FEW / 2}` });
for (const storage of [baseline, hot, cold]) await storage.writeApiKeys(data);
const misses = {
  cold: await missOf(baseline, known.few),
  unknown: await missOf(baseline, unknown.few),
};
for (const storage of [baseline, hot]) await storage.warmupCache();

const path = join(folder, 'peers');
mkdirSync(path);
for (const driver of drivers) await driver.make(join(path, driver.name), data);
const findsOf = (some: typeof drivers): Record<string, Find> =>
  Object.fromEntries(some.map(driver => [driver.name, driver.open(join(path, driver.name)).find]));
const bare = new Map(data.keys.map(record => [record.key, Promise.resolve(record)]));
const finds: Record<Question[0], Record<string, Find>> = {
  hit: {
    keyledger: hot.findApiKey,
    baseline: baseline.findApiKey,
    Map: key => bare.get(key),
    ...findsOf(drivers),
  },
  asked: { keyledger: hot.findApiKey },
  cold: { keyledger: cold.findApiKey, ...findsOf(stores) },
  unknown: { keyledger: cold.findApiKey, ...findsOf(stores) },
};

for (const [kind, what] of [
  ['hit', 'hits'],
  ['cold', 'misses'],
  ['unknown', 'misses'],
] as const) {
  const keys = kind === 'unknown' ? unknown.all : known.all;
  for (const [name, find] of Object.entries(finds[kind])) {
    const storage = { keyledger: kind === 'hit' ? hot : cold, baseline }[name];
    const before = await storage?.cacheStats();
    for (const key of keys) {
      const right = JSON.stringify(records.get(key) ?? null);
      check(JSON.stringify((await find(key)) ?? null) === right, `${kind}, ${name}`);
    }
    const after = await storage?.cacheStats();
    const counted = Number(after?.[what]) - Number(before?.[what]);
    check(!storage || counted === keys.length, `${kind}, ${name}: ${counted} ${what}`);
  }
}

const loops = new Map<string, [string, Loop][]>();
for (const kind of ['hit', 'asked', 'cold', 'unknown'] as const) {
  for (const size of ['few', 'all'] as const) {
    const keys = (kind === 'unknown' ? unknown : known)[size];
    const made = Object.entries(finds[kind]).map(([name, find]): [string, Loop] => [
      name,
      loopOver(find as (key: string) => Promise<unknown>, keys),
    ]);
    loops.set(`${kind} ${size}`, made);
  }
}

/** What a call takes in one of the loops. */
async function cost(kind: Question[0], loop: Loop, rounds: number): Promise<number> {
  if (kind === 'asked') {
    let sum = 0;
    for (let round = 0; round < rounds; round++) {
      // Something changes: each key is asked of Rust again.
      hot.apiKeyCache.delete('');
      sum += await loop(1);
    }
    return sum / rounds;
  }
  // So it is once after each look at the file. Not in what is timed here, if it can be helped.
  if (kind === 'hit') await loop(1);
  return loop(rounds);
}

await serve(async ([kind, size]: Question): Promise<Answer> => {
  const { length } = (kind === 'unknown' ? unknown : known)[size];
  const costs: Answer = kind === 'cold' || kind === 'unknown' ? { ...misses[kind] } : {};
  for (const [name, loop] of loops.get(`${kind} ${size}`) ?? []) {
    costs[name] = await cost(kind, loop, Math.ceil(CALLS[size] / length));
  }
  return costs;
});
