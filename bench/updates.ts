// Recording usage: one update at a time, and many in flight; what was rejected, and what was lost.
import { type Driver, driversOf } from './drivers.ts';
import { type Bound, type Column, finish, makeData, type Row, short, total } from './measure.ts';
import type { Answer, Question } from './recorder.ts';
import { copyStore, faultOf, makeStores, Results, withChild } from './trials.ts';

const SIZES = short ? [1000] : [10, 1000, 10_000, 100_000];
const TRIALS = short ? 2 : 3;
const drivers = short
  ? driversOf('keyledger', 'baseline', 'lmdb')
  : driversOf(
      'keyledger',
      'keyledger, unsynced',
      'baseline',
      'sqlite NORMAL',
      'sqlite FULL',
      'lmdb',
    );

/** Nothing is timed before the engine has seen it. */
const WARM_UP = { what: '', inFlight: 1, updates: 5 };
/** How many updates, of which so many at once, again when all are settled. */
const SHAPES = [
  { what: 'one at a time', inFlight: 1, updates: 20 },
  { what: '10 in flight', inFlight: 10, updates: 100 },
  { what: '100 in flight', inFlight: 100, updates: 500 },
  { what: '1000 in flight', inFlight: 1000, updates: 5000 },
  { what: '10 000 in flight', inFlight: 10_000, updates: 10_000 },
];
/** What they are held to. */
const BOUNDS: Record<string, Bound[]> = {
  '10: one at a time': [
    { limit: 1.6, to: 'baseline' },
    { on: 'keyledger, unsynced', limit: 0.7, to: 'baseline' },
  ],
  '10000: one at a time': [{ limit: 0.35, to: 'baseline' }],
  '1000: 100 in flight': [{ limit: 1, to: 'lmdb' }],
  '1000: 1000 in flight': [{ limit: 0.5, to: 'lmdb' }],
};

/** By figure, and who: what was rejected. */
type Rejected = Map<string, Partial<Record<Column, string>>>;

/** One process, on a store of its own. */
async function trial(driver: Driver, from: string, size: number, to: Results, rejected: Rejected) {
  const own = copyStore(from);
  const sum = { resolved: 0, rejected: 0 };
  const env = { DRIVER: driver.name, FOLDER: own, COUNT: `${size}` };
  await withChild<Question, Answer>('recorder.ts', env, async recorder => {
    for (const { what, ...question } of [WARM_UP, ...SHAPES]) {
      const answer = await recorder.ask(question);
      sum.resolved += answer.resolved;
      sum.rejected += answer.rejected;
      if (what === WARM_UP.what) continue;
      to.add(driver.name, what, answer.milliseconds / Math.max(1, answer.resolved));
      if (answer.rejected === 0) continue;
      const note = `${answer.rejected} of ${question.updates} rejected`;
      rejected.set(what, { ...rejected.get(what), [driver.name]: note });
    }
  });
  const grown = Number(await driver.total?.(own)) - total(makeData(size));
  const fault = faultOf(driver, grown, sum);
  if (fault) to.wrong(driver.name, fault);
}

const rows: Row[] = [];
for (const size of SIZES) {
  const folders = await makeStores(`${size}`, drivers, size);
  const results = new Results();
  const rejected: Rejected = new Map();
  for (let turn = 0; turn < TRIALS; turn++) {
    for (const driver of drivers) {
      if (results.isWrong(driver.name)) continue;
      await trial(driver, folders.get(driver) as string, size, results, rejected);
    }
  }
  for (const { what } of SHAPES) {
    const failed = rejected.get(what);
    rows.push({
      what: `an update, ${what}, ${size} keys`,
      unit: 'µs',
      figures: results.figures(what, 1e3),
      ...(failed && { failed }),
      bounds: BOUNDS[`${size}: ${what}`] ?? [],
    });
  }
}
finish(rows);
