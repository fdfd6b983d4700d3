// The longest stop of the event loop, each piece of work in a process of its own. Watching keeps a processor busy.
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { driversOf } from './drivers.ts';
import { finish, folder, type Row, short, times } from './measure.ts';
import { makeStores, Results, withChild } from './trials.ts';

const SIZES = short ? [10_000] : [10_000, 100_000];
const TRIALS = times(3, 5);
const LIMIT_MS = 5;
const drivers = driversOf('keyledger', 'baseline', 'sqlite FULL', 'lmdb');

/** The works of all, and those of a store that is a JSON file. */
const WORKS = ['first lookup', 'an update', 'updates and lookups'];
const OF_FILES = ['warm-up', 'reload after an edit', 'readApiKeys', 'writeApiKeys'];
/** What can't be had in pieces: the whole file as an object, or an object as the whole file. */
const UNBOUNDED = ['readApiKeys', 'writeApiKeys', 'others'];

const rows: Row[] = [];
for (const size of SIZES) {
  const folders = await makeStores(`${size}`, drivers, size);
  const results = new Results();
  for (let turn = 0; turn < TRIALS; turn++) {
    for (const driver of drivers) {
      const isFile = ['keyledger', 'baseline'].includes(driver.name);
      const works = isFile ? [...WORKS, ...OF_FILES] : WORKS;
      if (driver.name === 'keyledger') works.push('others');
      for (const work of works) {
        const own = join(folder, 'trial');
        rmSync(own, { recursive: true, force: true });
        cpSync(folders.get(driver) as string, own, { recursive: true });
        const env = {
          DRIVER: driver.name,
          FOLDER: own,
          COUNT: `${size}`,
          CACHE_REVALIDATE_MS: '0',
        };
        await withChild<string, number>('stopper.ts', env, async stopper => {
          results.add(driver.name, work, await stopper.ask(work));
        });
      }
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
