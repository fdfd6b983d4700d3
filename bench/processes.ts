// Four processes on one file of 1000 keys, against one of them alone.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Child, start } from './child.ts';
import { check, finish, folder, inTurn, makeData, type Row, total } from './measure.ts';
import type { Answer, Question } from './recorder.ts';

const PROCESSES = 4;
const TURNS = 5;
const TURN_MS = 2000;
const data = makeData(1000);
const file = join(folder, 'processes.json');
writeFileSync(file, JSON.stringify(data, null, 2));

let made = 0;

type Recorder = Child<Question, Answer>;

/** Updates per second of these processes together. */
async function rate(recorders: Recorder[], inFlight: number): Promise<number> {
  const question: Question = { inFlight, milliseconds: TURN_MS };
  let sum = 0;
  const answers = await Promise.all(recorders.map(recorder => recorder.ask(question)));
  for (const { updates, milliseconds } of answers) {
    made += updates;
    sum += (updates * 1e3) / milliseconds;
  }
  return sum;
}

const recorders = await Promise.all(
  Array.from({ length: PROCESSES }, () =>
    start<Question, Answer>('recorder.ts', { DATA_FILE: file }),
  ),
);
const rows: Row[] = [];
try {
  for (const inFlight of [1, 10, 100]) {
    const measures = [() => rate(recorders, inFlight), () => rate(recorders.slice(0, 1), inFlight)];
    await inTurn(1, ...measures);
    const [together = Number.NaN, alone = Number.NaN] = await inTurn(TURNS, ...measures);
    check(
      total(JSON.parse(readFileSync(file, 'utf8'))) === total(data) + made,
      'every update of every process',
    );
    rows.push({
      what: `${PROCESSES} processes, ${inFlight} in flight in each, against one alone`,
      keyledger: `${together.toFixed(0)}/s, alone ${alone.toFixed(0)}/s`,
      baseline: '-',
      ratio: `${(together / alone).toPrecision(2)}x`,
      bound: '≥ 1x',
      met: together >= alone,
    });
  }
} finally {
  await Promise.all(recorders.map(recorder => recorder.end()));
}
finish(rows);
