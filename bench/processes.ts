// Four processes on one file of 1000 keys, against one of them alone.
import { type Child, start } from './child.ts';
import { driversOf } from './drivers.ts';
import { finish, inTurn, makeData, type Row, ratio, total } from './measure.ts';
import type { Answer, Question } from './recorder.ts';
import { faultOf, makeStores, Results } from './trials.ts';

const PROCESSES = 4;
const COUNT = 1000;
const IN_FLIGHT = [1, 10, 100];
const TURNS = 3;
const TURN_MS = 600;

type Recorder = Child<Question, Answer>;

const drivers = driversOf('keyledger', 'baseline', 'sqlite FULL', 'lmdb');
const folders = await makeStores('processes', drivers, COUNT);
const results = new Results();
const failed = new Map<string, string>();

for (const driver of drivers) {
  const path = folders.get(driver) as string;
  const env = { DRIVER: driver.name, FOLDER: path, COUNT: `${COUNT}` };
  const recorders: Recorder[] = [];
  for (let i = 0; i < PROCESSES; i++) recorders.push(await start('recorder.ts', env));
  let resolved = 0;
  let rejected = 0;

  /** Updates per second of these processes together. */
  const rate = async (some: Recorder[], inFlight: number): Promise<number> => {
    let sum = 0;
    const question: Question = { inFlight, milliseconds: TURN_MS };
    for (const answer of await Promise.all(some.map(recorder => recorder.ask(question)))) {
      resolved += answer.resolved;
      rejected += answer.rejected;
      sum += (answer.resolved * 1e3) / answer.milliseconds;
    }
    return sum;
  };

  for (const inFlight of IN_FLIGHT) {
    const measures = [() => rate(recorders, inFlight), () => rate(recorders.slice(0, 1), inFlight)];
    await inTurn(1, ...measures);
    const [together = [], alone = []] = await inTurn(TURNS, ...measures);
    for (const number of together) results.add(driver.name, `${inFlight} together`, number);
    for (const number of alone) results.add(driver.name, `${inFlight} alone`, number);
  }
  await Promise.all(recorders.map(recorder => recorder.end()));
  if (rejected > 0) failed.set(driver.name, `${rejected} of ${resolved + rejected} rejected`);
  const grown = Number(await driver.total?.(path)) - total(makeData(COUNT));
  const fault = faultOf(driver, grown, { resolved, rejected });
  if (fault) results.wrong(driver.name, fault);
}

const rows: Row[] = [];
for (const inFlight of IN_FLIGHT) {
  const what = `${inFlight} in flight in each`;
  const together = results.figures(`${inFlight} together`);
  const alone = results.figures(`${inFlight} alone`);
  rows.push({ what: `updates of ${PROCESSES} processes, ${what}`, unit: '/s', figures: together });
  rows.push({ what: `updates of one process, ${what}`, unit: '/s', figures: alone });
  const ratios: Row['figures'] = {};
  for (const { name } of drivers) {
    const [many, one] = [together[name], alone[name]];
    if (typeof many === 'object' && typeof one === 'object') ratios[name] = ratio(many, one);
  }
  rows.push({
    what: `${PROCESSES} processes against one, ${what}`,
    unit: 'x',
    figures: ratios,
    ...(failed.size > 0 && { failed: Object.fromEntries(failed) }),
    bounds: [{ limit: 1, least: true }],
  });
}
finish(rows);
