// The memory that a store takes, in a process of its own each time: what the process has beyond what it had before.
// Only Linux tells it.
import { copyFileSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { start } from './child.ts';
import { driverOf } from './drivers.ts';
import type { Answer, Question } from './holder.ts';
import { figure, finish, folder, makeData, makeKey, type Row } from './measure.ts';

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
type Field = keyof Answer;
const NAMES = Object.keys(WORKS) as Name[];

const collectable = process.versions.bun ? [] : ['--expose-gc'];
const rows: Row[] = [];

/** What each trial tells of each piece of work. */
type Answers = Map<string, Answer[]>;

for (const count of existsSync('/proc/self/clear_refs') ? SIZES : []) {
  const data = makeData(count);
  const path = join(folder, `${count}`);
  const file = join(path, 'apikeys.json');
  const list = join(path, 'keys.json');
  mkdirSync(path);
  writeFileSync(list, JSON.stringify(data.keys.map(({ key }) => key)));
  for (const name of ['original', 'edited']) {
    const keys = data.keys.map(record => ({ ...record, name }));
    // Another key before all others: nothing that was known of the file helps to read the edited one.
    if (name === 'edited') keys.unshift({ ...keys[0], key: makeKey() } as (typeof keys)[0]);
    writeFileSync(`${file}.${name}`, JSON.stringify({ keys }, null, 2));
    if (name === 'original') await driverOf('lru-cache').make(path, { keys });
  }

  const answers: Answers = new Map();
  for (let turn = 0; turn < TURNS; turn++) {
    for (const name of NAMES) {
      copyFileSync(`${file}.original`, file);
      const holder = await start<Question, Answer>(
        'holder.ts',
        { DRIVER: name, FOLDER: path, KEYS: list },
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

  const { size } = statSync(file);
  const numbersOf = (name: Name, work: Question, field: Field) =>
    (answers.get(`${name} ${work}`) ?? []).map(answer => answer[field] / 1e6);
  /** A row of one figure, for all who have it; what keyledger may have beside twice the file is for so many entries. */
  const add = (what: string, work: Question, field: Field, entries?: number) => {
    const figures: Row['figures'] = {};
    for (const name of NAMES) {
      const numbers = numbersOf(name, work, field);
      if (numbers.length > 0) figures[name] = figure(numbers);
    }
    const limit = (2 * size + PER_ENTRY * (entries ?? 0)) / 1e6;
    const bounds = entries === undefined ? [] : [{ limit }];
    rows.push({ what: `${what}, ${count} keys`, unit: 'MB', figures, bounds });
  };
  add(`memory after a file of ${(size / 1e6).toFixed(1)} MB was read`, 'read', 'resident', 1);
  add('memory with all in the cache', 'fill', 'resident', count);
  add("of it in JavaScript's heap", 'fill', 'heap');
  const perEntry: Row['figures'] = {};
  for (const name of NAMES) {
    // What has no file to read before has nothing of it in memory.
    const read = numbersOf(name, 'read', 'resident');
    const growth = numbersOf(name, 'fill', 'resident').map((all, i) => all - (read[i] ?? 0));
    perEntry[name] = figure(growth.map(megabytes => (megabytes * 1e6) / count));
  }
  rows.push({ what: `for each of them, ${count} keys`, unit: 'B', figures: perEntry });
  add('memory after 30 updates', 'update', 'resident', count);
  add('most during 30 updates', 'update', 'peak', count);
  add('memory after 30 reloads', 'reload', 'resident', count);
  add('most during 30 reloads', 'reload', 'peak', count);
}
finish(rows);
