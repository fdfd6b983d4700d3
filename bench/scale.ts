// What a lookup costs as keys grow: for each number of keys in a process of its own, all in turn.
//
// Ten keys in turn tell what a store's size costs by itself. All of them in random order miss the processor's caches
// too, as they do in a bare `Map`: beside it stands what an awaited `Map.get` costs.
import { type Child, start } from './child.ts';
import type { Answer, Question } from './finder.ts';
import { finish, median, type Row, show } from './measure.ts';

const SIZES = [10, 1000, 10_000, 100_000];
const TURNS = { few: 21, all: 5 };
const GROWTH = 1.5;

const KINDS: [kind: Question[0], few: string, all: string][] = [
  ['hit', 'hit, 10 keys in turn', 'hit, all keys in random order'],
  ['asked', 'hit after a change, 10 keys in turn', 'hit after a change, all keys in random order'],
  ['cold', 'miss, 10 keys in turn', 'miss, all keys in random order'],
  ['unknown', 'unknown key, 10 in turn', 'unknown key, 20000 in turn'],
];

// One after the other: each measures what the baseline does before it is ready.
const finders: Child<Question, Answer>[] = [];
for (const size of SIZES) finders.push(await start('finder.ts', { COUNT: `${size}` }));

/** For each size the median of what a call takes, by the store's name. */
async function ask(...question: Question): Promise<Answer[]> {
  const answers: Answer[][] = finders.map(() => []);
  // The first turn is for the engine to warm up.
  for (let turn = -1; turn < TURNS[question[1]]; turn++) {
    for (const [i, finder] of finders.entries()) {
      const answer = await finder.ask(question);
      if (turn >= 0) answers[i]?.push(answer);
    }
  }
  return answers.map(turns =>
    Object.fromEntries(
      Object.keys(turns[0] as Answer).map(name => [
        name,
        median(turns.map(answer => answer[name] as number)),
      ]),
    ),
  );
}

function time(nanoseconds: number): string {
  if (nanoseconds < 1e4) return show(nanoseconds, 'ns');
  return nanoseconds < 1e7 ? show(nanoseconds / 1e3, 'µs') : show(nanoseconds / 1e6, 'ms');
}

function rowOf(what: string, costs: Answer): Row {
  const shown = Object.entries(costs).map(([name, cost]) => [name, time(cost)]);
  return { what, keyledger: '-', baseline: '-', ...Object.fromEntries(shown) };
}

const rows: Row[] = [];
for (const [kind, whatFew, whatAll] of KINDS) {
  const few = await ask(kind, 'few');
  for (const [i, costs] of few.entries()) rows.push(rowOf(`${whatFew}, of ${SIZES[i]}`, costs));
  const growth = Number(few.at(-1)?.keyledger) / Number(few[0]?.keyledger);
  rows.push({
    what: `${whatFew}, of ${SIZES.at(-1)} against of ${SIZES[0]}`,
    keyledger: show(growth, 'x'),
    baseline: '-',
    bound: `≤ ${GROWTH}x`,
    met: growth <= GROWTH,
  });
  for (const [i, costs] of (await ask(kind, 'all')).entries()) {
    const row = rowOf(`${whatAll}, of ${SIZES[i]}`, costs);
    if (costs.Map) row.ratio = `${(Number(costs.keyledger) / costs.Map).toPrecision(2)}x Map`;
    rows.push(row);
  }
}
await Promise.all(finders.map(finder => finder.end()));
finish(rows);
