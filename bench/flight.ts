// Many updates in flight on 1000 keys, synced: time per update, and that none of them is lost.
import {
  check,
  finish,
  inTurn,
  load,
  makeData,
  type Row,
  show,
  total,
  type Updater,
  updaterOf,
} from './measure.ts';
import { openRival } from './rival.ts';

const TURNS = 21;
const data = makeData(1000);
const keys = data.keys.map(({ key }) => key);
const start = total(data);

const storage = await load('keyledger', 'flight');
await storage.writeApiKeys(data);
const ours = updaterOf(storage);
const theirs = await openRival('flight', data);
const made = new Map([ours, theirs].map(updater => [updater, 0]));

/** The next key in turn. Counts the update. */
function next(updater: Updater): string {
  const number = made.get(updater) as number;
  made.set(updater, number + 1);
  return keys[number % keys.length] as string;
}

type Shape = (updater: Updater, inFlight: number, updates: number) => Promise<unknown>;
const shapes: Record<string, Shape> = {
  /** All at once, and again when all have resolved. */
  'in rounds': async (updater, inFlight, updates) => {
    for (let done = 0; done < updates; done += inFlight) {
      await Promise.all(Array.from({ length: inFlight }, () => updater.update(next(updater))));
    }
  },
  /** Each that has resolved starts the next. */
  'in a loop': async (updater, inFlight, updates) => {
    let left = updates;
    const lane = async () => {
      while (left-- > 0) await updater.update(next(updater));
    };
    await Promise.all(Array.from({ length: inFlight }, lane));
  },
};

/** Microseconds per update. */
async function time(shape: Shape, updater: Updater, inFlight: number, updates: number) {
  const begun = performance.now();
  await shape(updater, inFlight, updates);
  return ((performance.now() - begun) * 1e3) / updates;
}

function checkTotals() {
  for (const [updater, updates] of made) {
    check(updater.total() === start + updates, `every update of ${made.size} stores is there`);
  }
}

const rows: Row[] = [];
for (const [inFlight, bound] of [
  [100, 1],
  [1000, 0.5],
] as const) {
  for (const [name, shape] of Object.entries(shapes)) {
    const updates = 5 * inFlight;
    const measures = [ours, theirs].map(updater => () => time(shape, updater, inFlight, updates));
    await inTurn(3, ...measures);
    const [keyledger = Number.NaN, lmdb = Number.NaN] = await inTurn(TURNS, ...measures);
    checkTotals();
    const ratio = keyledger / lmdb;
    rows.push({
      what: `an update, ${inFlight} in flight ${name}`,
      keyledger: show(keyledger, 'µs'),
      baseline: '-',
      lmdb: show(lmdb, 'µs'),
      ratio: `${ratio.toPrecision(2)}x`,
      bound: `≤ ${bound}x lmdb`,
      met: ratio <= bound,
    });
  }
}

const MOST = 10_000;
const before = ours.total();
await shapes['in rounds']?.(ours, MOST, MOST);
const recorded = ours.total() - before;
rows.push({
  what: `recorded of ${MOST} updates in flight`,
  keyledger: `${recorded}`,
  baseline: '-',
  bound: `${MOST}`,
  met: recorded === MOST,
});
finish(rows);
