/** What `mixed.test.ts` runs: processes of both kinds on one file, and what they wrote down. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Child, type Ended, print, start, tempFolder } from '../helpers.ts';
import { type Mark, marks } from './lock-log.ts';
import { type Edit, type Job, type Line, newKey, SHARED, type Update } from './mixed-worker.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const WORKER = fileURLToPath(new URL('mixed-worker.ts', import.meta.url));

type Kind = Pick<Job, 'kind' | 'runtime'>;
/** One of this kind on each runtime. */
export const pair = (kind: Job['kind']): Kind[] => [
  { kind, runtime: 'Node' },
  { kind, runtime: 'Bun' },
];

export interface Process extends Job {
  ended: Ended;
  updates: Update[];
  edits: Edit[];
  faults: string[];
}

export interface Run {
  file: string;
  text: string;
  processes: Process[];
  locks: Mark[];
  seconds: number;
}

function launch(job: Job, file: string): Child {
  const node = process.versions.bun ? 'node' : process.execPath;
  const bun = process.versions.bun ? process.execPath : join(ROOT, 'node_modules/.bin/bun');
  const [program, ...args] = job.runtime === 'Bun' ? [bun] : [node, '--import', 'tsx'];
  const env = { DATA_FILE: file, JOB: JSON.stringify(job) };
  return start(String(program), [...args, WORKER], env, ROOT);
}

function reportOf(job: Job, ended: Ended): Process {
  const text = existsSync(job.report) ? readFileSync(job.report, 'utf8') : '';
  const report: Process = { ...job, ended, updates: [], edits: [], faults: [] };
  for (const json of text.split('\n').filter(Boolean)) {
    const line: Line = JSON.parse(json);
    if (line.what === 'update') report.updates.push(line);
    else if (line.what === 'edit') report.edits.push(line);
    else report.faults.push(line.text);
  }
  return report;
}

/**
 * Runs these processes together for a time.
 *
 * @param burst how many updates each of the old kind makes at once at the end, while the others go on
 */
export async function run(kinds: Kind[], milliseconds: number, burst = 0): Promise<Run> {
  const folder = tempFolder();
  const [file, go, locks] = [
    join(folder, 'apikeys.json'),
    join(folder, 'go'),
    join(folder, 'locks'),
  ];
  writeFileSync(file, print({ owner: { 'of the': 'file' }, keys: SHARED.map(newKey), edits: {} }));
  writeFileSync(locks, '');
  const children = kinds.map((kind, n) => {
    const name = `${kind.kind}-${kind.runtime}-${n}`;
    const rest = { report: join(folder, `${name}.log`), locks, go };
    const length =
      kind.kind === 'old' || burst === 0
        ? { milliseconds, burst }
        : { milliseconds: milliseconds + 700, burst: 0 };
    const job: Job = { ...kind, name, ...rest, ...length };
    return { job, child: launch(job, file) };
  });
  await Promise.all(children.map(({ child }) => child.prints('ready')));
  const started = performance.now();
  writeFileSync(go, '');
  const processes = await Promise.all(
    children.map(async ({ job, child }) => reportOf(job, await child.ended)),
  );
  const seconds = (performance.now() - started) / 1000;
  return { file, text: readFileSync(file, 'utf8'), processes, locks: marks(locks), seconds };
}

/** How the calls that each waited for the one before ended, over these processes. */
export function tally(processes: Process[]) {
  const calls = processes.flatMap(({ updates, edits }) => [...updates, ...edits]);
  const single = calls.filter(call => call.what === 'edit' || call.way !== 'burst');
  const rejected = single.filter(({ error }) => error !== undefined).length;
  // Of its ten tries, 50 ms apart, the old kind needed more than five, or they were not enough.
  const late = single.filter(({ milliseconds }) => milliseconds > 250).length;
  return { calls: single.length, rejected, late };
}

export type Tally = ReturnType<typeof tally>;

/** By how many standard errors the share of such calls is higher in the first tally: up to some five it may be chance. */
export function excess(what: 'rejected' | 'late', one: Tally, other: Tally): number {
  // One more of either kind, so that none at all is no certainty.
  const share = (one[what] + other[what] + 1) / (one.calls + other.calls + 2);
  const error = Math.sqrt(share * (1 - share) * (1 / one.calls + 1 / other.calls));
  return (one[what] / one.calls - other[what] / other.calls) / error;
}
