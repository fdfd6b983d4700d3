/** Faults at every step of a write: each system call on the data file, and on what lies beside it, is made to fail. What
 * the steps are is found by watching a write: those that are new are tested without being named here. */
import { execFileSync } from 'node:child_process';
import { chownSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { isDeepStrictEqual } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import type { ApiKey } from '../../index.js';
import {
  type Driven,
  drive,
  lookUp,
  type Outcome,
  plusBatch,
  recordBatch,
  THREE,
  totals,
} from '../driven.ts';
import { cleanUp, leftovers, open, parsed, print, sleep, tempFolder } from '../helpers.ts';
import { attach, type Call, threads, unattachable } from './strace.ts';
import { full } from './stress.ts';

afterEach(cleanUp);

/** The errors that a call may end in: the first in the short form, all in the full one. */
const ERRORS: [RegExp, string[]][] = [
  [/^open/, ['EMFILE', 'ENFILE', 'EROFS', 'EACCES', 'ENOSPC', 'EIO']],
  [/^p?write/, ['ENOSPC', 'EIO', 'EDQUOT']],
  [/^fdatasync/, ['EIO', 'ENOSPC', 'EDQUOT']],
  [/^mkdir/, ['ENOSPC', 'EACCES', 'EROFS', 'EIO']],
  [/^rename/, ['EIO', 'ENOSPC', 'EROFS', 'EACCES', 'EBUSY']],
  [/^(rmdir|unlink)/, ['EIO', 'EACCES', 'EROFS']],
  [/^flock/, ['ENOLCK', 'EIO']],
  [/chown|chmod/, ['EPERM', 'EROFS']],
  [/^(p?read|fsync)/, ['EIO']],
  [/./, ['EIO', 'EACCES']],
];

/**
 * Steps that a write can't do without: it rejects. Others it may do without, as long as it says what is so: the data file,
 * for example, is opened to be read, and once more so that it is not freed while others wait.
 */
const NEEDED = [
  /^open\w* flock/,
  /^flock flock/,
  /^read data/,
  /^open\w* temporary/,
  /^fchmod temporary/,
  /^write temporary/,
  /^fdatasync temporary/,
  /^open\w* folder/,
  /^mkdir\w* directory/,
  /^rename\w* temporary, data/,
  /^fsync folder/,
];
/** Steps that it must do without. */
const TOLERATED = [/^fchown temporary/];

const BATCH = 'a batch of updates';
/** Ways to add 1, 2 and 4 to the totals of three keys. */
const WAYS: Record<string, (child: Driven, keys: ApiKey[]) => Promise<Outcome>> = {
  [BATCH]: recordBatch,
  writeApiKeys: (child, keys) =>
    child.run(`return outcome(ledger.writeApiKeys(${JSON.stringify({ keys })}));`),
  'withLock(read, change, write)': child =>
    child.run(`
      return outcome(ledger.withLock(async () => {
        const data = await ledger.readApiKeys();
        data.keys.forEach((entry, n) => { entry.total_lifetime_tokens += 2 ** n; });
        await ledger.writeApiKeys(data);
      }));
    `),
};

interface Step extends Pick<Call, 'name' | 'nth' | 'thread' | 'injected'> {
  /** What is done to what. */
  label: string;
}

interface Fault {
  step: Step;
  error: string;
  /** Whether all later calls of this name fail too. Not `write`, by which threads of the runtimes wake each other. */
  lasting: boolean;
}

interface Subject {
  child: Driven;
  file: string;
  way: string;
}

const any = (labels: RegExp[], label: string) => labels.some(one => one.test(label));
const inject = ({ step, error, lasting }: Fault) => [
  '-e',
  `inject=${step.name}:error=${error}:when=${step.nth}${lasting ? '+' : ''}`,
];

async function subject(way: string): Promise<Subject> {
  const { file } = await open(THREE);
  // A lock that nobody holds must be had long before it would count as somebody's who died.
  const settings = { CACHE_REVALIDATE_MS: '0', LOCK_TIMEOUT_MS: '5000', UV_THREADPOOL_SIZE: '2' };
  const child = await drive({ DATA_FILE: file, ...settings });
  // Calls are counted by thread. Of the two that there are (Bun has no fewer), one waits for somebody to write into a
  // pipe: so it is always the same one that writes.
  const pipe = join(tempFolder(), 'pipe');
  execFileSync('mkfifo', [pipe]);
  await child.run(`void fs.promises.open(${JSON.stringify(pipe)});`);
  const one = { child, file, way };
  await write(one);
  return one;
}

/** The calls on the data file and on what lies beside it. */
function steps(calls: Call[], file: string): Step[] {
  const folder = dirname(file);
  const kind = (path: string) => {
    if (path === folder) return 'folder';
    if (path === file) return 'data';
    if (path === `${file}.flock`) return 'flock';
    return path.startsWith(`${file}.lock`) ? 'directory' : 'temporary';
  };
  return calls.flatMap(({ text, ...call }) => {
    const paths = [...text.matchAll(/(?<=["<])\/[^">]+/g)].map(([path]) => path);
    const ours = paths.filter(path => path === folder || path.startsWith(`${folder}/`));
    // A file that could not be closed is closed all the same.
    if (ours.length === 0 || call.name === 'close') return [];
    return [{ ...call, label: `${call.name} ${[...new Set(ours.map(kind))].join(', ')}` }];
  });
}

/** The steps of a write, with these faults. */
async function watched({ child, file, way }: Subject, faults: Fault[]): Promise<Step[]> {
  await edit(file);
  const traced = ['-e', 'trace=%file,%desc', ...faults.flatMap(inject)];
  const [fault] = faults;
  const detach = await attach(fault ? [fault.step.thread] : threads(child.pid).all, ...traced);
  await write({ child, file, way });
  return steps(await detach(), file);
}

/** Somebody edits the file, so that it must be read again, and it is somebody else's. Gives its bytes. */
async function edit(file: string): Promise<string> {
  const bytes = print({ ...parsed(file), edit: Math.random() });
  writeFileSync(file, bytes);
  if (process.getuid?.() === 0) chownSync(file, 12345, 54321);
  // What was only just saved is read twice, which makes other steps.
  await sleep(30);
  return bytes;
}

function write({ child, file, way }: Subject): Promise<Outcome> {
  const next = plusBatch(totals(file));
  const data = parsed(file).keys.map((entry, n) => ({
    ...entry,
    total_lifetime_tokens: next[n] as number,
  }));
  return (WAYS[way] as (typeof WAYS)[string])(child, data);
}

/** A write by another process. */
async function writeElsewhere(file: string): Promise<void> {
  const other = await drive({ DATA_FILE: file });
  await recordBatch(other);
  await other.end();
}

function attributes(file: string) {
  const { mode, uid, gid } = statSync(file);
  return { mode, uid, gid };
}

/** What a write may come to. */
function codes(way: string, { label }: Step, faults: Fault[]): string[] {
  const [{ error }] = faults as [Fault];
  if (label === 'fsync folder') {
    // To take a replacement back can fail too.
    if (way === BATCH) return faults.length > 1 ? [error, 'EUNSYNCED'] : [error];
    return ['EUNSYNCED'];
  }
  if (any(TOLERATED, label)) return ['done'];
  return any(NEEDED, label) ? [error] : [error, 'done'];
}

/** A write with faults, the last of them at `step`, and one without. Gives what is wrong. */
async function check(one: Subject, faults: Fault[]): Promise<string[]> {
  const { child, file, way } = one;
  const before = await edit(file);
  const old = totals(file);
  const looks = attributes(file);
  const { step, lasting } = faults.at(-1) as Fault;
  const traced = ['-e', `trace=${faults.map(fault => fault.step.name)}`, ...faults.flatMap(inject)];
  const detach = await attach([step.thread], ...traced);
  const { code, message } = await write(one);
  const during = await lookUp(child);
  const hits = steps(await detach(), file).filter(hit => hit.injected);
  const bytes = readFileSync(file, 'utf8');
  const inFile = totals(file);
  const looksNow = attributes(file);
  const left = leftovers(file);
  const after = await lookUp(child);
  const next = [(await write(one)).code, totals(file), await lookUp(child)];
  // While its maker lives, a temporary file that it could not remove may lie there.
  if (step.name.startsWith('unlink')) await writeElsewhere(file);
  const remaining = leftovers(file);

  const written = code === 'done' || code === 'EUNSYNCED';
  const expected = written ? plusBatch(old) : old;
  const allowed = hits[0] ? codes(way, hits[0], faults) : ['done'];
  const wrong = Object.entries({
    code: [allowed.includes(code) ? code : allowed, code],
    'path in the message': [true, code === 'done' || message.includes(dirname(file))],
    'bytes of the file': [written ? bytes : before, bytes],
    'mode and owner': [written || any(TOLERATED, step.label) ? looksNow : looks, looksNow],
    'in the file': [expected, inFile],
    'cached meanwhile': [expected, during],
    'cached afterwards': [expected, after],
    // What could not be removed is there until the next write.
    'left in the folder': [written || lasting || faults.length > 1 ? left : [], left],
    'the next write': [['done', plusBatch(expected), plusBatch(expected)], next],
    'left after it': [[], remaining],
  }).filter(([, [wanted, got]]) => !isDeepStrictEqual(wanted, got));
  for (const entry of remaining) rmSync(join(dirname(file), entry), { recursive: true });
  const name = faults.map(fault => `${fault.step.label} ${inject(fault)[1]}`).join(' and ');
  const found = wrong.map(([what, [, got]]) => `${name}: ${what}: ${JSON.stringify(got)}`);
  return hits.some(hit => hit.label === step.label) ? found : [...found, `${name}: did not happen`];
}

/** Goes through all steps that there are with these faults, after the last of them. The short form takes one of each kind,
 * but for the plain batch. */
async function checkAll(one: Subject, first: Fault[] = []): Promise<Step[]> {
  const found = await watched(one, first);
  const wrong: string[] = [];
  const from = first.length > 0 ? found.findIndex(step => step.injected) + 1 : 0;
  const all = found.slice(from).filter(step => step.name !== first[0]?.step.name);
  const last = new Map(all.map(step => [step.label, step]));
  const then = full || (one.way === BATCH && from === 0) ? all : [...last.values()];
  for (const step of then) {
    const [, errors] = ERRORS.find(([name]) => name.test(step.name)) as (typeof ERRORS)[number];
    for (const error of full ? errors : errors.slice(0, 1))
      for (const lasting of full && step.name !== 'write' ? [false, true] : [false])
        wrong.push(...(await check(one, [...first, { step, error, lasting }])));
  }
  expect(wrong).toEqual([]);
  return then;
}

const title = unattachable && ` (skipped: ${unattachable})`;
describe.skipIf(unattachable)(`a fault${title}`, () => {
  it.each(Object.keys(WAYS))(
    'at any one step of %s',
    async way => {
      const one = await subject(way);
      const found = await checkAll(one);
      const reads = way !== 'writeApiKeys';
      const needed = NEEDED.filter(label => reads || !/read data/.test(String(label)));
      const seen = needed.filter(label => found.some(step => label.test(step.label)));
      expect(seen).toEqual(needed);
    },
    120000,
  );

  it.each([
    ['of the folder', /^fsync folder/, 'EIO'],
    ['of the data', /^fdatasync temporary/, 'EIO'],
    ['of the name', /^rename\w* temporary, data/, 'EROFS'],
  ])(
    'of a write or sync %s, and then one at any step that takes it back',
    async (_, label, error) => {
      const one = await subject(BATCH);
      const step = (await watched(one, [])).find(step => label.test(step.label)) as Step;
      expect((await checkAll(one, [{ step, error, lasting: true }])).length).toBeGreaterThan(0);
    },
    120000,
  );
});
