/**
 * `kill -9` at every system call that a write makes in the folder of the data file: the file holds the step whole or not at
 * all, and the next writer goes on at once and tidies up. Which calls there are is found by watching a write.
 */
import { chownSync, rmSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import process from 'node:process';
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, type Env, leftovers, sampleKey } from '../helpers.ts';
import { DataFile, spread, startWriter, type Writer } from './kill-writers.ts';
import { attach, type Call, threads, unattachable } from './strace.ts';
import { full } from './stress.ts';

afterEach(cleanUp);

const LONG = 900_000;
const KEYS = ['a', 'b', 'c'];
const OWNER = 65534;

/** The pool of a writer: strace counts the calls of each thread by itself. */
const ONE_THREAD = { UV_THREADPOOL_SIZE: '1' };

/** How often a call is tried: a slow machine may make the calls before it others than they were when it was watched. */
const TRIES = 5;

/** In the short form a call that changes nothing is hit once for each name; each of the others always. */
const READING =
  /^(close|flock|\w*stat\w*|getdents|\w*(get|list)xattr|lseek|p?read|open(?!.*O_CREAT))/;

/** A write that is killed. */
interface Way {
  step: string;
  /** What the next writer does, if not an update. */
  next?: string;
  /** What happens before, with the data file as it was made. */
  before?: (file: DataFile) => Promise<void> | void;
  /** What the writer does before. */
  warm?: string;
  /** The settings of the next writer. */
  env?: Env;
  /** Whether the short form tries it too. */
  short?: boolean;
  /** Whether only root can try it. */
  root?: boolean;
}

const WAYS: Record<string, Way> = {
  'the first update of all': { step: 'update', short: true },
  'an update of a process that has made some': { step: 'update', warm: 'updates' },
  'updates at process.exit()': { step: 'exit', warm: 'update', short: true },
  writeApiKeys: { step: 'write' },
  'the first writeApiKeys, which makes the file': {
    step: 'create',
    next: 'create',
    before: file => rmSync(file.path),
  },
  'withLock(read, change, write)': { step: 'edit', short: true },
  'an update inside withLock': { step: 'updateInside' },
  'an update after another writer was killed inside withLock': {
    step: 'update',
    before: async file => {
      const holder = await startWriter(file.path, KEYS, ONE_THREAD);
      const inject = 'inject=fdatasync:signal=KILL:when=1';
      const detach = await attach(threads(holder.pid).others, '-e', inject);
      await holder.once('edit').catch(() => {});
      await holder.kill();
      await detach();
      // Its temporary file and the lock directory.
      expect(leftovers(file.path).length).toBeGreaterThan(1);
    },
  },
  "root's first update of a file of somebody else, who comes next": {
    step: 'update',
    before: file => {
      for (const path of [file.path, dirname(file.path)]) chownSync(path, OWNER, OWNER);
    },
    env: { WRITER_UID: `${OWNER}` },
    short: true,
    root: true,
  },
};

/** The file that `create` makes. */
const DATA = {
  keys: KEYS.map(key =>
    sampleKey(key, {
      total_lifetime_tokens: 1,
      usage_windows: [{ window_start: new Date().toISOString(), tokens_used: 1 }],
    }),
  ),
};

interface Round {
  file: DataFile;
  writer: Writer;
  next: Writer;
  /** The total of the keys. */
  before: number;
}

async function prepare(way: Way): Promise<Round> {
  const file = new DataFile(way.next === 'create' ? KEYS.length : 10, KEYS);
  await way.before?.(file);
  const [writer, next] = await Promise.all([
    startWriter(file.path, KEYS, ONE_THREAD),
    startWriter(file.path, KEYS, { LOCK_TIMEOUT_MS: '100', ...way.env }),
  ]);
  if (way.warm) await writer.once(way.warm);
  return { file, writer, next, before: file.total(KEYS) };
}

/** What a call does to what; empty for one that has nothing to do with the data file or with what the writer tells. */
function label(name: string, text: string, folder: string): string {
  if (name === 'write' && text.includes('"r\\n"')) return 'write: resolved';
  const paths = [...text.matchAll(/(?<=["<])\/[^">]+/g)].map(([path]) => path);
  const ours = paths.filter(path => path === folder || path.startsWith(`${folder}/`));
  const names = ours.map(path => (path === folder ? 'folder' : basename(path)));
  return names.length === 0
    ? ''
    : `${name} ${[...new Set(names)].join(', ').replace(/\w{6}\.tmp/, '*.tmp')}`;
}

interface Found extends Pick<Call, 'name' | 'text'> {
  what: string;
  /** Whether it was made by the thread that runs JavaScript, not by one of the pool. */
  main: boolean;
  /** Which one it is of this name, among those of the main thread or of the pool. */
  nth: number;
}

/** One write, killed at this call; without a call it is only watched. */
async function run(way: Way, call?: Found) {
  const { file, writer, next, before } = await prepare(way);
  const warm = writer.told().resolved;
  const { main, others, all } = threads(writer.pid);
  const inject = call ? ['-e', `inject=${call.name}:signal=KILL:when=${call.nth}`] : [];
  // Not to all threads: what JavaScript itself reads and writes must not count.
  const watched = call ? (call.main ? main : others) : all;
  const detach = await attach(watched, '-e', 'trace=%file,%desc', ...inject);
  // Rejects when the writer ends before it can tell.
  const survived = await writer.once(way.step, DATA).then(
    () => true,
    () => false,
  );
  const { signal } = await writer.kill();
  const folder = dirname(file.path);
  const counts = new Map<string, number>();
  const calls: Found[] = (await detach()).flatMap(({ name, text, thread }) => {
    const main = call?.main ?? thread === String(writer.pid);
    const nth = (counts.get(`${name} ${main}`) ?? 0) + 1;
    counts.set(`${name} ${main}`, nth);
    const what = label(name, text, folder);
    return what === '' ? [] : [{ name, text, what, main, nth }];
  });
  const resolved = writer.told().resolved - warm;
  const outcome = {
    calls,
    killed: signal === 'SIGKILL' && !survived,
    held: 'neither',
    milliseconds: 0,
    fault: '',
  };
  try {
    if (writer.failure()) throw new Error(writer.failure());
    const held = file.total(KEYS);
    if (held < before + resolved || held > before + 1) throw new Error(`${before} became ${held}`);
    outcome.held = held === before ? 'old' : 'new';
    outcome.milliseconds = await next.once(way.next ?? 'update', DATA);
    const after = file.total(KEYS);
    if (after !== (way.next ? 1 : held + 1)) throw new Error(`${held} became ${after}`);
    const left = leftovers(file.path);
    if (left.length > 0) throw new Error(`left beside the file: ${left}`);
  } catch (error) {
    outcome.fault = `${error}`;
  }
  await next.kill();
  rmSync(folder, { recursive: true, force: true });
  return outcome;
}

type Outcome = Awaited<ReturnType<typeof run>>;

const whats = ({ calls }: Outcome) => calls.map(({ what }) => what);

/** What the short form has tried. */
const tried = new Set<string>();

/** The places in a sequence of calls at which to kill. */
function places(watched: Outcome): number[] {
  const all = [...watched.calls.keys()];
  if (full) return all;
  const chosen = all.toReversed().filter(place => {
    const { name, text, what } = watched.calls[place] as Found;
    const reading = READING.test(`${name} ${text}`);
    const kind = reading ? name : `${what} ${nthOf(watched, place)}`;
    return tried.size < tried.add(kind).size;
  });
  return chosen.length > 0 ? chosen : all.slice(-1);
}

/** Which one it is of those that do the same. */
function nthOf(watched: Outcome, place: number): number {
  const all = whats(watched);
  return all.slice(0, place + 1).filter(what => what === all[place]).length;
}

/** Kills at one place of a write that was watched. */
async function killAt(way: Way, { calls }: Outcome, place: number): Promise<Outcome> {
  const call = calls[place] as Found;
  const before = calls.slice(0, place + 1).filter(({ main }) => main === call.main);
  const wanted = before.map(({ what }) => what).join();
  for (let n = 1; ; n += 1) {
    const outcome = await run(way, call);
    const seen = whats(outcome).join();
    const hit = outcome.killed && seen === wanted;
    if (hit || outcome.fault || n === TRIES)
      return { ...outcome, fault: outcome.fault || (hit ? '' : `not hit: ${seen}`) };
  }
}

function show(
  title: string,
  table: { place: number; what?: string; held: string; milliseconds: number }[],
) {
  const runtime = process.versions.bun ? 'Bun' : 'Node.js';
  const rows = table.map(
    ({ place, what, held, milliseconds }) =>
      `${String(place + 1).padStart(4)}  ${held}  ${milliseconds.toFixed(1).padStart(6)} ms  ${what}`,
  );
  const times = spread(table.map(({ milliseconds }) => milliseconds));
  console.log(`${runtime}, ${title}: the next update took ${times}\n${rows.join('\n')}`);
}

/** Why a way can't be tried here; empty when it can. */
function obstacle({ root }: Way): string {
  return unattachable || (root && process.getuid?.() !== 0 ? 'this is not root' : '');
}

async function killEverywhere(title: string, way: Way): Promise<void> {
  const watched = await run(way);
  const { killed, held, fault } = watched;
  expect({ killed, held, fault }).toEqual({ killed: false, held: 'new', fault: '' });
  const todo = places(watched);
  const outcomes = new Map<number, Outcome>();
  const lane = async () => {
    for (let place = todo.pop(); place !== undefined; place = todo.pop())
      outcomes.set(place, await killAt(way, watched, place));
  };
  await Promise.all([lane(), lane()]);
  const table = [...outcomes]
    .toSorted(([a], [b]) => a - b)
    .map(([place, outcome]) => ({ place, ...outcome, what: watched.calls[place]?.what }));
  if (full) show(title, table);
  const faults = table
    .filter(({ fault }) => fault)
    .map(({ place, what, held, fault }) => `${place + 1} ${what}: ${held}, ${fault}`);
  expect(faults).toEqual([]);
  // From one call on the file holds the step.
  const states = table.map(outcome => outcome.held);
  expect(states).toEqual(states.toSorted().toReversed());
  if (full) expect([...new Set(states)]).toEqual(['old', 'new']);
}

describe('a kill at each system call of', () => {
  for (const [title, way] of Object.entries(WAYS).filter(([, { short }]) => full || short)) {
    const why = obstacle(way);
    const skipped = why && ` (skipped: ${why})`;
    it.skipIf(why !== '')(`${title}${skipped}`, () => killEverywhere(title, way), LONG);
  }
});
