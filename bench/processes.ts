// Four processes on one file of 1000 keys, against one of them alone.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { check, finish, folder, inTurn, makeData, type Row, total } from './measure.ts';

const PROCESSES = 4;
const TURNS = 5;
const TURN_MS = 2000;
const data = makeData(1000);
const file = join(folder, 'processes.json');
writeFileSync(file, JSON.stringify(data, null, 2));

interface Recorder {
  child: ChildProcess;
  /** The next line that it prints. */
  next(): Promise<string>;
}

function start(): Recorder {
  const script = fileURLToPath(new URL('./recorder.ts', import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, script], {
    env: { ...process.env, DATA_FILE: file },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[
    Symbol.asyncIterator
  ]();
  return {
    child,
    next: async () => {
      const { value, done } = await lines.next();
      check(!done, 'a process of the benchmark has ended');
      return value as string;
    },
  };
}

let made = 0;

/** Updates per second of these processes together. */
async function rate(recorders: Recorder[], inFlight: number): Promise<number> {
  for (const { child } of recorders) child.stdin?.write(`${inFlight} ${TURN_MS}\n`);
  let sum = 0;
  for (const line of await Promise.all(recorders.map(recorder => recorder.next()))) {
    const { updates, milliseconds } = JSON.parse(line);
    made += updates;
    sum += (updates * 1e3) / milliseconds;
  }
  return sum;
}

const recorders = Array.from({ length: PROCESSES }, start);
const rows: Row[] = [];
try {
  for (const recorder of recorders) check((await recorder.next()) === 'ready', 'ready');
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
  for (const { child } of recorders) child.kill();
}
finish(rows);
