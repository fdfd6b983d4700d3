/** `kill -9` at random moments: what had resolved is in the file, the file is whole, and the next writer goes on at once. */
import process from 'node:process';
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, leftovers, sleep } from '../helpers.ts';
import { DataFile, spread, startWriter, type Writer } from './kill-writers.ts';
import { full, times } from './stress.ts';

afterEach(cleanUp);

const LONG = 900_000;

/** The longest that a writer runs until it is killed, in milliseconds: some commits. */
const LONGEST_RUN = 15;

/** What writers that share the file do; who is alone with it may also replace it without a lock. */
const SHARED = ['update', 'updates', 'edit', 'updateInside'];
const ALONE = [...SHARED, 'write'];

interface Result {
  kills: number;
  /** How many of them broke off a step, */
  interrupted: number;
  /** and how many left something beside the data file, where nobody else was at work. */
  littered: number;
  /** How long the first update of the next writer took. */
  milliseconds: number[];
  faults: string[];
}

const nothing = (): Result => ({
  kills: 0,
  interrupted: 0,
  littered: 0,
  milliseconds: [],
  faults: [],
});

function report(title: string, { kills, interrupted, littered, milliseconds }: Result): void {
  if (!full) return;
  const left = littered > 0 ? `, ${littered} left something behind` : '';
  const runtime = process.versions.bun ? 'Bun' : 'Node.js';
  console.log(
    `${runtime}, ${title}: ${kills} kills, ${interrupted} within a step${left}; ` +
      `the next update took ${spread(milliseconds)}`,
  );
}

/** Kills a writer and compares what is in the file with what it told. Gives the total of its keys. */
async function killed(
  writer: Writer,
  file: DataFile,
  keys: string[],
  before: number,
  result: Result,
) {
  const { signal } = await writer.kill();
  const { started, resolved } = writer.told();
  result.kills += 1;
  result.interrupted += Number(started > resolved);
  if (signal !== 'SIGKILL' || writer.failure()) throw new Error(`${signal} ${writer.failure()}`);
  const held = file.total(keys);
  if (held < before + resolved || held > before + started)
    throw new Error(`${held} in the file; ${before} before, ${resolved} to ${started} since`);
  return held;
}

/** One writer after the other on one file; on a new one when something was wrong. */
async function oneAfterTheOther(size: number, kills: number, result: Result): Promise<void> {
  const keys = ['a', 'b', 'c'];
  let file = new DataFile(size, keys);
  let writer: Writer | undefined;
  let before = 0;
  for (let n = 0; n < kills; n += 1) {
    writer ??= await startWriter(file.path, keys);
    const next = await startWriter(file.path, keys, { LOCK_TIMEOUT_MS: '100' });
    writer.forever(ALONE);
    await sleep(Math.random() * LONGEST_RUN);
    try {
      before = await killed(writer, file, keys, before, result);
      result.littered += Number(leftovers(file.path).length > 0);
      result.milliseconds.push(await next.once('update'));
      const after = file.total(keys);
      if (after !== before + 1) throw new Error(`${after} in the file, not ${before + 1}`);
      const left = leftovers(file.path);
      if (left.length > 0) throw new Error(`left beside the file: ${left}`);
      writer = next;
    } catch (error) {
      result.faults.push(`kill ${result.kills}: ${error}`);
      await next.kill();
      file = new DataFile(size, keys);
      writer = undefined;
      before = 0;
    }
  }
  await writer?.kill();
}

describe('a writer that is killed at a random moment', () => {
  it.each([
    [10, times(8, 400)],
    [1000, times(6, 350)],
  ])(
    '%i keys, %i kills',
    async (size, kills) => {
      const result = nothing();
      const half = Math.floor(kills / 2);
      await Promise.all([half, kills - half].map(part => oneAfterTheOther(size, part, result)));
      report(`${size} keys`, result);
      expect(result.faults).toEqual([]);
      expect(result.kills).toBe(kills);
      expect(result.interrupted).toBeGreaterThan(kills / 4);
    },
    LONG,
  );
});

describe('several writers of one file, of which one is killed and replaced again and again', () => {
  const kills = times(6, 250);
  it(
    `go on, ${kills} kills`,
    async () => {
      const owners = ['a', 'b', 'c', 'd'].map(name => ['1', '2', '3'].map(n => `${name}${n}`));
      const file = new DataFile(40, owners.flat());
      // Less than it takes until the lock directory of a dead program of another kind is taken over.
      const env = { LOCK_TIMEOUT_MS: '5000' };
      const start = async (keys: string[]) => {
        const before = file.total(keys);
        return { keys, before, writer: await startWriter(file.path, keys, env) };
      };
      const slots = await Promise.all(owners.map(start));
      for (const { writer } of slots) writer.forever(SHARED);
      const result = nothing();
      while (result.kills < kills) {
        const at = Math.floor(Math.random() * slots.length);
        const slot = slots[at];
        if (!slot) throw new Error('no slot');
        await sleep(Math.random() * LONGEST_RUN);
        const alive = slots.filter(other => other !== slot);
        const promised = alive.map(({ before, writer }) => before + writer.told().resolved);
        try {
          await killed(slot.writer, file, slot.keys, slot.before, result);
          const held = alive.map(({ keys }) => file.total(keys));
          if (held.some((total, n) => total < (promised[n] ?? 0)))
            throw new Error(`${held} in the file of what others promised: ${promised}`);
        } catch (error) {
          result.faults.push(`kill ${result.kills}: ${error}`);
        }
        const next = await start(slot.keys);
        slots[at] = next;
        result.milliseconds.push(await next.writer.once('update'));
        next.writer.forever(SHARED);
      }
      for (const { keys, before, writer } of slots) {
        const ended = { ...(await writer.stop()), failure: writer.failure() };
        expect(ended).toEqual({ code: 0, signal: null, failure: '' });
        expect(file.total(keys)).toBe(before + writer.told().resolved);
      }
      report('4 writers', result);
      expect(result.faults).toEqual([]);
      expect(result.interrupted).toBeGreaterThan(kills / 4);
      const last = await start(owners[0] ?? []);
      await last.writer.once('update');
      expect(leftovers(file.path)).toEqual([]);
      await last.writer.kill();
    },
    LONG,
  );
});
