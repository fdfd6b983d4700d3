/**
 * the contract: 'Recording usage' and `withLock`, with processes of ours and of the module that we replace on one file.
 * Each process writes down how each of its calls ended; the file must hold just that.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ApiKeysData } from '../../index.js';
import { cleanUp, leftovers, print } from '../helpers.ts';
import { changes, type Mark, overlaps } from './lock-log.ts';
import { excess, type Process, pair, type Run, run, tally } from './mixed-run.ts';
import { type Data, type Entry, newKey, SHARED } from './mixed-worker.ts';
import { full, times } from './stress.ts';

const LIMIT_MS = times(60_000, 600_000);
/** The old kind is bound to reject some of so many at once. */
const BURST = 40;

const isOld = ({ kind }: Process) => kind === 'old';
const isNative = (process: Process) => !isOld(process);
const updatesOf = (processes: Process[]) => processes.flatMap(({ updates }) => updates);
const resolved = <T extends { error?: string }>(calls: T[]) =>
  calls.filter(({ error }) => error === undefined);

/** The keys that must be in the file by what the processes wrote down, and what is in them. */
function expected(processes: Process[]): Map<string, Entry> {
  const keys = new Map(SHARED.map(key => [key, newKey(key)]));
  for (const { name, edits } of processes) {
    for (const { added, removed, noted } of resolved(edits)) {
      keys.set(added, newKey(added));
      keys.delete(removed ?? '');
      const entry = keys.get(noted) as Entry;
      entry.edits = { ...entry.edits, [name]: (entry.edits?.[name] ?? 0) + 1 };
    }
  }
  for (const { key, tokens } of resolved(updatesOf(processes))) {
    const entry = keys.get(key);
    // What was recorded for a key that is removed was compared when it was removed.
    if (entry) entry.total_lifetime_tokens += tokens;
  }
  return keys;
}

let mixed: Run;
/** As before any of ours was there: four more of the old kind in their place. */
let among: Run;

beforeAll(async () => {
  const natives = [...pair('native'), ...pair('native')];
  mixed = await run([...natives, ...pair('old')], times(2500, 60_000), BURST);
  among = await run([...pair('old'), ...pair('old'), ...pair('old')], times(1500, 30_000));
  if (!full) return;
  const runs = {
    'four of ours, two old': mixed,
    'six old': among,
    'four of ours, one old': await run([...natives, ...pair('old').slice(1)], 20_000),
    'two old': await run(pair('old'), 20_000),
  };
  for (const [what, it] of Object.entries(runs))
    console.log(JSON.stringify({ what, ...figures(it) }));
}, LIMIT_MS);

afterAll(cleanUp);

function figures({ processes, seconds, locks }: Run) {
  const side = (some: Process[]) => {
    if (some.length === 0) return undefined;
    const updates = resolved(updatesOf(some)).length;
    const burst = updatesOf(some).filter(({ way }) => way === 'burst');
    return {
      updates,
      perSecond: Math.round(updates / seconds),
      oneAtATime: tally(some),
      burst: { calls: burst.length, rejected: burst.length - resolved(burst).length },
    };
  };
  return {
    seconds: Math.round(seconds),
    native: side(processes.filter(isNative)),
    old: side(processes.filter(isOld)),
    held: locks.length / 2,
    overlaps: overlaps(locks).length,
  };
}

describe('four processes of ours and two of the old kind on one file', () => {
  it('every process ends well, and sees nothing that must not be', () => {
    for (const { ended, faults, updates, edits } of mixed.processes) {
      expect({ ...ended, faults }).toMatchObject({ code: 0, stderr: '', faults: [] });
      expect(resolved(updates).length).toBeGreaterThan(0);
      expect(resolved(edits).length).toBeGreaterThan(0);
    }
  });

  it('none of our calls rejects; those of the old kind only since they find the lock taken', () => {
    const errors = (processes: Process[]) =>
      processes.flatMap(({ updates, edits }) =>
        [...updates, ...edits].flatMap(({ error }) => error ?? []),
      );
    expect(errors(mixed.processes.filter(isNative))).toEqual([]);
    expect(new Set([...errors(mixed.processes.filter(isOld)), 'EEXIST'])).toEqual(
      new Set(['EEXIST']),
    );
  });

  it('the totals are the sums of what resolved, and nothing else', () => {
    const { text, processes } = mixed;
    const { keys }: ApiKeysData = JSON.parse(text);
    const totals = keys.map(entry => [entry.key, entry.total_lifetime_tokens]);
    const wanted = [...expected(processes).values()].map(
      ({ key, total_lifetime_tokens: total }) => [key, total],
    );
    expect(totals.sort()).toEqual(wanted.sort());
    for (const { total_lifetime_tokens: total, usage_windows: windows } of keys)
      expect(windows.map(window => window.tokens_used)).toEqual(total === 0 ? [] : [total]);
  });

  it('what was added is there, what was removed is gone, and no edit is undone', () => {
    const { text, processes } = mixed;
    const data: Data = JSON.parse(text);
    const wanted = expected(processes);
    expect(data.keys.map(({ key }) => key).sort()).toEqual([...wanted.keys()].sort());
    for (const entry of data.keys as Entry[])
      expect([entry.key, entry.edits]).toEqual([entry.key, wanted.get(entry.key)?.edits]);
    expect(data.edits).toEqual(
      Object.fromEntries(processes.map(({ name, edits }) => [name, resolved(edits).length])),
    );
    expect(processes.some(({ edits }) => edits.some(({ removed }) => removed))).toBe(true);
  });

  it('fields that neither kind knows are as they were, and all in its order', () => {
    const { text } = mixed;
    const data = JSON.parse(text);
    expect(text).toBe(print(data));
    expect(Object.keys(data)).toEqual(['owner', 'keys', 'edits']);
    expect(data.owner).toEqual({ 'of the': 'file' });
    for (const { edits, ...entry } of data.keys as Entry[]) {
      expect(print(entry.glmkey)).toBe(print(newKey(entry.key).glmkey));
      expect(Object.keys(entry)).toEqual(Object.keys(newKey('')));
    }
  });

  it('one at a time holds the lock, and it goes from one kind to the other', () => {
    const { locks, processes } = mixed;
    expect(overlaps(locks)).toEqual([]);
    const kinds = new Map(processes.map(({ name, kind }) => [name, kind]));
    expect(new Set(locks.map(({ who }) => who))).toEqual(new Set(kinds.keys()));
    expect(changes(locks, (one, next) => kinds.get(one) !== kinds.get(next))).toBeGreaterThan(1);
  });

  it('nothing is left beside the file', () => {
    const { file, processes } = mixed;
    const ours = ['go', 'locks', ...processes.map(({ name }) => `${name}.log`)];
    expect(leftovers(file).filter(name => !ours.includes(name))).toEqual([]);
  });

  it.each(['rejected', 'late'] as const)(
    'calls of the old kind are %s no more often than with four more of them in the place of ours',
    what => {
      for (const { ended } of among.processes) expect(ended).toMatchObject({ code: 0, stderr: '' });
      const old = mixed.processes.filter(isOld);
      expect(excess(what, tally(old), tally(among.processes))).toBeLessThan(5);
    },
  );

  it('the sums were put to the test by calls that rejected', () => {
    const rejected = updatesOf(mixed.processes).filter(({ error }) => error !== undefined);
    expect(rejected.length).toBeGreaterThan(0);
  });
});

describe('a share of rejections', () => {
  it.each([
    ['above none', [100, 12], [300, 0], true],
    ['above a few', [3000, 60], [6000, 24], true],
    ['of two calls, which may be chance', [100, 2], [300, 0], false],
    ['that is the same', [100, 5], [300, 15], false],
    ['below many', [100, 0], [300, 60], false],
  ])('%s', (_, [calls = 0, rejected = 0], [others = 0, theirs = 0], found) => {
    const ours = { calls, rejected, late: 0 };
    expect(excess('rejected', ours, { calls: others, rejected: theirs, late: 0 }) >= 5).toBe(found);
  });
});

describe('the log of who holds the lock', () => {
  const log = (text: string): Mark[] =>
    text.split(' ').map(word => ({ what: word[0] === '+' ? 'in' : 'out', who: word.slice(1) }));

  it.each([
    ['one after the other', '+a -a +b -b +a -a', 0],
    ['one enters while another is inside', '+a +b -a -b', 1],
    ['one inside the other', '+a +b -b -a', 1],
    ['the same one twice', '+a +a -a -a', 1],
    ['one that never entered leaves', '+a -a -b', 1],
    ['one never leaves', '+a -a +b', 1],
    ['a third enters too', '+a +b +c -a -b -c', 2],
  ])('%s', (_, text, count) => {
    expect(overlaps(log(text))).toHaveLength(count);
  });

  it('tells how often it changed hands', () => {
    const other = (one: string, next: string) => one !== next;
    expect(changes(log('+a -a +a -a +b -b +a -a'), other)).toBe(2);
    expect(changes(log('+a -a'), other)).toBe(0);
  });
});
