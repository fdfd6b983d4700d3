// The longest stop of the event loop at 10 000 keys.
import { pbkdf2 } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import {
  finish,
  load,
  longestStop,
  makeData,
  makeKey,
  median,
  type Row,
  type Storage,
  show,
} from './measure.ts';

const RUNS = 5;
const COUNT = 10_000;
const data = makeData(COUNT);
const edited = JSON.stringify(
  { keys: data.keys.map(key => ({ ...key, name: 'edited' })) },
  null,
  2,
);

const keys = Array.from({ length: 50 }, (_, i) => data.keys[i * 199]?.key as string);
const pause = () => new Promise(resolve => setImmediate(resolve));

type Work = (storage: Storage & { file: string }) => Promise<unknown>;
const works: Record<string, Work> = {
  'first lookup': storage => storage.findApiKey(keys[0] as string),
  'warm-up': storage => storage.warmupCache(),
  'updates and lookups': async storage => {
    const updates: Promise<void>[] = [];
    for (const key of keys) {
      updates.push(storage.updateApiKeyUsage(key, 1, 'glm-4.7'));
      await storage.findApiKey(key);
      await storage.findApiKey(makeKey());
      await pause();
    }
    // The baseline gives up on most of them: that is not what is measured here.
    await Promise.allSettled(updates);
  },
  'reload after an edit': async storage => {
    for (const key of keys) {
      await storage.findApiKey(key);
      await pause();
    }
  },
};

/** What can't be had in pieces: the whole file as an object, or an object as the whole file. */
const unbounded: Record<string, Work> = {
  readApiKeys: storage => storage.readApiKeys(),
  writeApiKeys: storage => storage.writeApiKeys(data),
};

const rows: Row[] = [];
let run = 0;
for (const [what, work] of Object.entries({ ...works, ...unbounded })) {
  const stops: Record<'keyledger' | 'baseline', number[]> = { keyledger: [], baseline: [] };
  // One after the other, not in turn: what the baseline leaves to the garbage collector stops the loop, too.
  for (const name of ['keyledger', 'baseline'] as const) {
    for (let i = 0; i < RUNS; i++) {
      const storage = await load(name, `loop-${++run}`, {
        CACHE_REVALIDATE_MS: '0',
        CACHE_MAX_SIZE: '10000',
      });
      writeFileSync(storage.file, JSON.stringify(data, null, 2));
      // A reload is of a file that was read before; the other calls find one that was not.
      if (what === 'reload after an edit') {
        await storage.findApiKey(keys[0] as string);
        writeFileSync(storage.file, edited);
      }
      await new Promise(resolve => setTimeout(resolve, 200));
      stops[name].push(await longestStop(() => work(storage)));
    }
  }
  const stop = median(stops.keyledger);
  rows.push({
    what: `longest stop, ${what}`,
    keyledger: `${show(stop, 'ms')} (most ${show(Math.max(...stops.keyledger), 'ms')})`,
    baseline: show(median(stops.baseline), 'ms'),
    ...(what in unbounded ? {} : { bound: '≤ 5 ms', met: stop <= 5 }),
  });
}

// For comparison: work on the thread pool that touches nothing of the loop's. What stops then is the machine.
const control: number[] = [];
for (let i = 0; i < 3 * RUNS; i++) {
  control.push(
    await longestStop(() => promisify(pbkdf2)('password', 'salt', 20_000, 64, 'sha512')),
  );
}
rows.push({
  what: 'longest stop, work of others on the pool',
  keyledger: `${show(median(control), 'ms')} (most ${show(Math.max(...control), 'ms')})`,
  baseline: '-',
});
finish(rows);
