// The memory that a store takes, in a process of its own each time: what the process has beyond what it had before.
// Only Linux tells it.
import { copyFileSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { start } from './child.ts';
import type { Answer, Question } from './holder.ts';
import { finish, folder, makeData, makeKey, median, type Row } from './measure.ts';

const SIZES = [10_000, 100_000];
const TURNS = 3;
/** What is allowed beside twice the file. */
const PER_ENTRY = 1500;

const WORKS = {
  keyledger: ['read', 'fill', 'update', 'reload'],
  baseline: ['read', 'fill'],
  'lru-cache': ['fill'],
} satisfies Record<string, Question[]>;
type Name = keyof typeof WORKS;
type Figure = keyof Answer;
const NAMES = Object.keys(WORKS) as Name[];

const collectable = process.versions.bun ? [] : ['--expose-gc'];
const rows: Row[] = [];

/** What each trial tells of each piece of work. */
type Answers = Map<string, Answer[]>;

/** The median of a figure; NaN where there is none. */
function figureOf(answers: Answers, name: Name, work: Question, figure: Figure): number {
  return median((answers.get(`${name} ${work}`) ?? []).map(answer => answer[figure]));
}

/** What comes with the entries of the cache. */
function perEntry(count: number, answers: Answers): Row {
  const row: Row = { what: `for each of them, ${count} keys`, keyledger: '-', baseline: '-' };
  for (const name of NAMES) {
    // What has no file to read before has nothing of it in memory.
    const read = figureOf(answers, name, 'read', 'resident') || 0;
    const growth = figureOf(answers, name, 'fill', 'resident') - read;
    row[name] = `${(growth / count).toFixed(0)} B`;
  }
  return row;
}

for (const count of existsSync('/proc/self/clear_refs') ? SIZES : []) {
  const data = makeData(count);
  const file = join(folder, `${count}`, 'apikeys.json');
  const list = join(folder, `${count}`, 'keys.json');
  mkdirSync(join(folder, `${count}`));
  writeFileSync(list, JSON.stringify(data.keys.map(({ key }) => key)));
  for (const name of ['original', 'edited']) {
    const keys = data.keys.map(record => ({ ...record, name }));
    // Another key before all others: nothing that was known of the file helps to read the edited one.
    if (name === 'edited') keys.unshift({ ...keys[0], key: makeKey() } as (typeof keys)[0]);
    writeFileSync(`${file}.${name}`, JSON.stringify({ keys }, null, 2));
  }

  const answers: Answers = new Map();
  for (let turn = 0; turn < TURNS; turn++) {
    for (const name of NAMES) {
      copyFileSync(`${file}.original`, file);
      const holder = await start<Question, Answer>(
        'holder.ts',
        { WHO: name, DATA_FILE: file, KEYS: list, CACHE_MAX_SIZE: `${count}` },
        collectable,
      );
      const before = await holder.ask('start');
      for (const work of WORKS[name]) {
        const { resident, heap, peak } = await holder.ask(work);
        const growth = {
          resident: resident - before.resident,
          heap: heap - before.heap,
          peak: peak - before.resident,
        };
        answers.set(`${name} ${work}`, [...(answers.get(`${name} ${work}`) ?? []), growth]);
      }
      await holder.end();
    }
  }

  /** A row of one figure, for all who have it. */
  const { size } = statSync(file);
  const add = (what: string, work: Question, figure: Figure, entries?: number) => {
    const row: Row = { what: `${what}, ${count} keys`, keyledger: '-', baseline: '-' };
    for (const name of NAMES) {
      const growth = figureOf(answers, name, work, figure);
      if (!Number.isNaN(growth)) row[name] = `${(growth / 1e6).toFixed(1)} MB`;
      if (name !== 'keyledger' || entries === undefined) continue;
      const bound = 2 * size + PER_ENTRY * entries;
      row.bound = `≤ ${(bound / 1e6).toFixed(1)} MB`;
      row.met = growth <= bound;
    }
    rows.push(row);
  };
  add(`memory after a file of ${(size / 1e6).toFixed(1)} MB was read`, 'read', 'resident', 1);
  add('memory with all in the cache', 'fill', 'resident', count);
  add("of it in JavaScript's heap", 'fill', 'heap');
  rows.push(perEntry(count, answers));
  add('memory after 30 updates', 'update', 'resident', count);
  add('most during them', 'update', 'peak', count);
  add('memory after 30 reloads', 'reload', 'resident', count);
  add('most during them', 'reload', 'peak', count);
}
finish(rows);
