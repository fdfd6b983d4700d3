// Updates one at a time: each waits for the one before. keyledger syncs, and so does lmdb; the baseline does not.
import {
  check,
  compare,
  finish,
  inTurn,
  load,
  makeData,
  type Row,
  show,
  total,
  updaterOf,
} from './measure.ts';
import { openRival } from './rival.ts';

const rows: Row[] = [];

for (const { count, turns, updates, synced, unsynced } of [
  { count: 10, turns: 31, updates: 20, synced: 1.6, unsynced: 0.7 },
  { count: 10_000, turns: 21, updates: 3, synced: 0.35, unsynced: undefined },
]) {
  const data = makeData(count);
  const keys = data.keys.map(({ key }) => key);
  const start = total(data);

  const storages = [
    await load('keyledger', `single-${count}`, { DATA_FSYNC: 'true' }),
    await load('baseline', `single-${count}`),
    await load('keyledger', `single-${count}-unsynced`, { DATA_FSYNC: 'false' }),
  ];
  for (const storage of storages) await storage.writeApiKeys(data);
  const updaters = [...storages.map(updaterOf), await openRival(`single-${count}`, data)];

  /** Microseconds per update. */
  const measures = updaters.map(updater => {
    let number = 0;
    const measure = async () => {
      const begun = performance.now();
      for (let i = 0; i < updates; i++) await updater.update(keys[number++ % count] as string);
      return ((performance.now() - begun) * 1e3) / updates;
    };
    return { measure, check: () => check(updater.total() === start + number, 'every update') };
  });
  await inTurn(3, ...measures.map(({ measure }) => measure));
  const [ours, theirs, oursUnsynced, lmdb] = await inTurn(
    turns,
    ...measures.map(({ measure }) => measure),
  );
  for (const measure of measures) measure.check();

  const row = (what: string, time: number | undefined, bound?: number): Row => ({
    ...compare(what, [Number(time), Number(theirs)], 'µs', bound),
    lmdb: show(lmdb, 'µs'),
  });
  rows.push(row(`an update, one at a time, ${count} keys`, ours, synced));
  rows.push(row(`the same, DATA_FSYNC=false`, oursUnsynced, unsynced));
}
finish(rows);
