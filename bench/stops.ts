// The longest stop of the event loop, one piece of work after the other. Watching keeps a processor busy.
import { driversOf } from './drivers.ts';
import { type Column, finish, type Row } from './measure.ts';
import { copyStore, makeStores, Results, withChild } from './trials.ts';

const SIZES = [10_000, 100_000];
const TRIALS = 3;
const LIMIT_MS = 5;

/** The works of all, and those of a store that is a JSON file. */
const WORKS = ['first lookup', 'an update', 'updates and lookups'];
const OF_FILES = ['warm-up', 'reload after an edit', 'readApiKeys', 'writeApiKeys'];
/** What can't be had in pieces: the whole file as an object, or an object as the whole file. */
const UNBOUNDED = ['readApiKeys', 'writeApiKeys', 'others'];

const rows: Row[] = [];
for (const size of SIZES) {
  // What is measured of the others tells how they stop the loop, whatever their size.
  const others: Column[] = size === SIZES[0] ? ['sqlite FULL', 'lmdb'] : [];
  const drivers = driversOf('keyledger', 'baseline', ...others);
  const folders = await makeStores(`${size}`, drivers, size);
  const results = new Results();
  for (let turn = 0; turn < TRIALS; turn++) {
    for (const driver of drivers) {
      const isFile = ['keyledger', 'baseline'].includes(driver.name);
      let works = isFile ? [...WORKS, ...OF_FILES] : WORKS;
      // It goes on answering from its cache.
      if (driver.name === 'baseline') works = works.filter(work => work !== 'reload after an edit');
      // There the rest takes the baseline half a minute, and tells nothing else.
      if (driver.name === 'baseline' && size > 10_000) works = ['first lookup', 'an update'];
      if (driver.name === 'keyledger') works = ['others', ...works];
      const path = copyStore(folders.get(driver) as string);
      const env = { DRIVER: driver.name, FOLDER: path, COUNT: `${size}`, CACHE_REVALIDATE_MS: '0' };
      await withChild<string, number>('stopper.ts', env, async stopper => {
        for (const work of works) results.add(driver.name, work, await stopper.ask(work));
      });
    }
  }
  for (const work of [...WORKS, ...OF_FILES, 'others']) {
    const what = work === 'others' ? 'work of others on the pool' : work;
    rows.push({
      what: `longest stop, ${what}, ${size} keys`,
      unit: 'ms',
      figures: results.figures(work),
      bounds: UNBOUNDED.includes(work) ? [] : [{ limit: LIMIT_MS }],
    });
  }
}
finish(rows);
