// Lookups as keys grow: the first answer, filling the cache, hits, misses, unknown keys.
//
// Ten keys in turn tell what a store's size costs by itself. Any of them at random miss the processor's caches too,
// as they do in a bare `Map`.
import type { Driver } from './drivers.ts';
import { driversOf } from './drivers.ts';
import type { Question } from './finder.ts';
import { type Bound, type Column, finish, type Row, ratio, short } from './measure.ts';
import { makeStores, Results, withChild } from './trials.ts';

const SIZES = short ? [10, 10_000] : [10, 1000, 10_000, 100_000];
const TRIALS = short ? 2 : 3;
const STORES: Column[] = short
  ? ['keyledger', 'baseline']
  : ['keyledger', 'baseline', 'sqlite NORMAL', 'lmdb'];
const drivers = driversOf('Map', 'lru-cache', ...STORES);
const results = new Map<number, Results>();

/** The work of one process. */
async function trial(driver: Driver, env: Record<string, string>, to: Results, works: Question[]) {
  await withChild<Question, number>('finder.ts', { ...env, DRIVER: driver.name }, async finder => {
    for (const work of works) to.add(driver.name, work, await finder.ask(work));
  });
}

for (const size of SIZES) {
  const folders = await makeStores(`${size}`, drivers, size);
  const all = new Results();
  results.set(size, all);
  const isStore = ({ name }: Driver) => STORES.includes(name);
  for (let turn = -1; turn < TRIALS; turn++) {
    for (const driver of drivers) {
      const env = { FOLDER: folders.get(driver) as string, COUNT: `${size}` };
      const cold = { ...env, COLD: 'yes' };
      if (turn < 0) {
        try {
          const nowhere = new Results();
          await trial(driver, env, nowhere, ['check']);
          if (isStore(driver)) await trial(driver, cold, nowhere, ['check']);
        } catch (error) {
          all.wrong(driver.name, (error as Error).message);
        }
      } else if (!all.isWrong(driver.name)) {
        const isCache = isStore(driver) && ['keyledger', 'baseline'].includes(driver.name);
        const before: Question[] = isStore(driver) ? ['first'] : [];
        if (isCache) before.push('load');
        await trial(driver, env, all, [...before, 'hit', 'hit, any']);
        if (isStore(driver)) await trial(driver, cold, all, ['miss', 'unknown']);
      }
    }
  }
}

const rows: Row[] = [];
const add = (what: string, work: Question, unit: string, scale: number, ...bounds: Bound[]) => {
  for (const [size, all] of results) {
    rows.push({ what: `${what}, ${size} keys`, unit, figures: all.figures(work, scale), bounds });
  }
};
/** What the largest store costs beside the smallest. */
const flat = (what: string, work: Question) => {
  const sizes = [SIZES.at(-1), SIZES[0]].map(size => results.get(Number(size)));
  const [large, small] = sizes.map(all => all?.figures(work).keyledger);
  if (typeof large !== 'object' || typeof small !== 'object') return;
  rows.push({
    what: `${what}, ${SIZES.at(-1)} keys against ${SIZES[0]}`,
    unit: 'x',
    figures: { keyledger: ratio(large, small) },
    bounds: [{ limit: 1.5 }],
  });
};
add('hit, 10 keys in turn', 'hit', 'ns', 1, { limit: 0.75, to: 'baseline' });
flat('hit', 'hit');
add('hit, any of them at random', 'hit, any', 'ns', 1);
add('unknown key', 'unknown', 'µs', 1e-3, { limit: 5 });
flat('unknown key', 'unknown');
add('cold miss', 'miss', 'µs', 1e-3);
flat('cold miss', 'miss');
add('first answer', 'first', 'ms', 1e-6, { limit: 60 });
add('filling the cache', 'load', 'ms', 1e-6);
finish(rows);
