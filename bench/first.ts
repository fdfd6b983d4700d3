// The first answer from a store of 100 000 keys, in a process that has not read it before, and an update of it then. The
// file is in the page cache, and has rested for long enough to be trusted.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { start } from './child.ts';
import { finish, folder, makeData, median, type Row, show } from './measure.ts';
import type { Answer, Question } from './opener.ts';
import { stores } from './peers.ts';

const COUNT = 100_000;
const TURNS = 9;
const data = makeData(COUNT);

/** Where each has its store. */
const paths: Record<string, string> = {};
for (const name of ['keyledger', 'baseline']) {
  mkdirSync(join(folder, name));
  paths[name] = join(folder, name, 'apikeys.json');
  writeFileSync(paths[name], JSON.stringify(data, null, 2));
}
for (const driver of stores) {
  paths[driver.name] = join(folder, driver.name);
  await driver.make(join(folder, driver.name), data);
}

const answers = new Map<string, Answer[]>();

/** One process: its answers go to `answers`, by its name and the kind of work. */
async function trial(who: string, turn: number, watched: boolean) {
  const { key, name } = data.keys[Math.floor((turn * COUNT) / TURNS)] as {
    key: string;
    name: string;
  };
  const opener = await start<Question, Answer>('opener.ts', {
    WHO: who,
    DATA_FILE: paths[who] ?? '',
  });
  for (const work of ['find', 'update'] as const) {
    const kind = `${who} ${work}${watched ? ' watched' : ''}`;
    const answer = await opener.ask({ work, watched, key, name });
    answers.set(kind, [...(answers.get(kind) ?? []), answer]);
    if (!['keyledger', 'baseline'].includes(who)) break;
  }
  await opener.end();
}

for (let turn = 0; turn < TURNS; turn++) {
  await trial('keyledger', turn, false);
  await trial('keyledger', turn, true);
  await trial('baseline', turn, true);
  for (const { name } of stores) await trial(name, turn, false);
  await trial('others', turn, true);
}

function figures(kind: string, figure: keyof Answer): number[] {
  return (answers.get(kind) ?? []).map(answer => answer[figure]);
}

/** The median and the longest. */
function stops(kind: string): string {
  const all = figures(kind, 'stop');
  return `${show(median(all), 'ms')} (most ${show(Math.max(...all), 'ms')})`;
}

const time = median(figures('keyledger find', 'time'));
const stop = median(figures('keyledger find watched', 'stop'));
const peers = stores.map(({ name }) => [name, show(median(figures(`${name} find`, 'time')), 'ms')]);
const rows: Row[] = [
  {
    what: `first answer, ${COUNT} keys`,
    keyledger: show(time, 'ms'),
    baseline: show(median(figures('baseline find watched', 'time')), 'ms'),
    ...Object.fromEntries(peers),
    bound: '≤ 60 ms',
    met: time <= 60,
  },
  {
    what: `longest stop, first answer, ${COUNT} keys`,
    keyledger: stops('keyledger find watched'),
    baseline: stops('baseline find watched'),
    ...Object.fromEntries(peers),
    bound: '≤ 5 ms',
    met: stop <= 5,
  },
  {
    what: `longest stop, an update, ${COUNT} keys`,
    keyledger: stops('keyledger update watched'),
    baseline: stops('baseline update watched'),
  },
  {
    what: 'longest stop, work of others on the pool',
    keyledger: stops('others find watched'),
    baseline: '-',
  },
];
finish(rows);
