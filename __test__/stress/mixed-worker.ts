/**
 * One of the processes of `mixed.test.ts`: records usage and edits the file, through keyledger or through the module that
 * it replaces, until its time is up. It writes down how each call ended, and what it sees that must not be.
 */
import { existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApiKey, ApiKeysData } from '../../index.js';
import { marker } from './lock-log.ts';

export interface Job {
  name: string;
  kind: 'native' | 'old';
  runtime: 'Node' | 'Bun';
  /** Where the report goes, and where all processes log who holds the lock. */
  report: string;
  locks: string;
  /** The file that appears when all are ready. */
  go: string;
  milliseconds: number;
  /** How many updates to make at once when the time is up; of the old kind's some are bound to reject. */
  burst: number;
}

/** The file has fields that neither side knows: counters, at the top and in keys, for `withLock` to edit. */
export type Entry = ApiKey & { edits?: Record<string, number>; glmkey: object };
export type Data = ApiKeysData & { edits: Record<string, number> };

/** How a call ended: without `error` it resolved. */
interface Call {
  milliseconds: number;
  error?: string;
}
export interface Update extends Call {
  what: 'update';
  key: string;
  tokens: number;
  /** Made by itself, together with others, or inside `withLock`. */
  way: 'single' | 'burst' | 'inside';
}
export interface Edit extends Call {
  what: 'edit';
  added: string;
  removed?: string;
  noted: string;
}
export type Line = Update | Edit | { what: 'fault'; text: string };

/** The keys that stay; all processes record usage for them. */
export const SHARED = Array.from({ length: 10 }, (_, n) => `sk-shared-${n}`);
/** A process that has added this many keys removes the oldest of them when it adds the next. */
export const KEPT = 4;

export function newKey(key: string): Entry {
  return {
    key,
    glmkey: { for: key, 'ünknown "field"\u2028': [1.5, null, { deep: true }] },
    name: `Owner of ${key}`,
    token_limit_per_5h: 100000,
    expiry_date: '2099-12-31T23:59:59.000Z',
    created_at: '2025-01-01T00:00:00.000Z',
    last_used: '2025-01-01T00:00:00.000Z',
    total_lifetime_tokens: 0,
    usage_windows: [],
  };
}

const random = (limit: number) => Math.floor(Math.random() * limit);
const pick = <T>(values: T[]): T => values[random(values.length)] as T;

async function work(job: Job, file: string): Promise<void> {
  const native = job.kind === 'native';
  const storage: typeof import('../../bench/baseline/storage.ts') = await import(
    native ? '../../index.js' : '../../bench/baseline/storage.ts'
  );
  const report = openSync(job.report, 'wx');
  const mark = marker(job.locks, job.name);
  const write = (line: Line) => writeSync(report, `${JSON.stringify(line)}\n`);
  const fault = (text: string) => write({ what: 'fault', text: `${job.name}: ${text}` });
  /** The keys that this process has added, the oldest first, with what it has recorded for them. */
  const own = new Map<string, number>();
  let edits = 0;

  /** Writes down how `call` ends. */
  async function noted(line: Update | Edit, call: () => Promise<void>): Promise<void> {
    const called = performance.now();
    try {
      await call();
    } catch (error) {
      line.error = (error as NodeJS.ErrnoException).code ?? String(error);
    }
    line.milliseconds = performance.now() - called;
    write(line);
  }

  async function update(key: string, way: Update['way']): Promise<void> {
    const tokens = 1 + random(1000);
    const line: Update = { what: 'update', key, tokens, way, milliseconds: 0 };
    await noted(line, () => storage.updateApiKeyUsage(key, tokens, 'model'));
    const before = own.get(key);
    if (before === undefined || line.error !== undefined) return;
    own.set(key, before + tokens);
    const found = await storage.findApiKey(key);
    if (found?.total_lifetime_tokens !== own.get(key))
      fault(`${key} was found with ${found?.total_lifetime_tokens}, it has ${own.get(key)}`);
  }

  function change(data: Data, { added, removed, noted }: Edit): void {
    data.edits[job.name] = (data.edits[job.name] ?? 0) + 1;
    const entry = data.keys.find(({ key }) => key === noted) as Entry | undefined;
    if (entry) entry.edits = { ...entry.edits, [job.name]: (entry.edits?.[job.name] ?? 0) + 1 };
    else fault(`${noted} is not in the file`);
    for (const [key, total] of own) {
      const there = data.keys.find(entry => entry.key === key)?.total_lifetime_tokens;
      if (there !== total) fault(`${key} has ${there} in the file, it should have ${total}`);
    }
    data.keys = data.keys.filter(({ key }) => key !== removed);
    data.keys.push(newKey(added));
  }

  async function edit(): Promise<void> {
    edits += 1;
    const added = `sk-${job.name}-${edits}`;
    const line: Edit = { what: 'edit', added, noted: pick(SHARED), milliseconds: 0 };
    if (own.size === KEPT) line.removed = [...own.keys()][0];
    const inside = async () => {
      const before = readFileSync(file);
      const data = (await storage.readApiKeys()) as Data;
      change(data, line);
      if (random(4) === 0) await sleep(1 + random(3));
      if (!readFileSync(file).equals(before)) fault('the file changed while it held the lock');
      await storage.writeApiKeys(data);
      own.delete(line.removed ?? '');
      own.set(added, 0);
      // The old kind would wait for itself.
      if (native) await update(added, 'inside');
    };
    await noted(line, () =>
      storage.withLock(async () => {
        mark('in');
        await inside().finally(() => mark('out'));
      }),
    );
  }

  /** Whoever reads without a lock sees a whole file. */
  async function look(): Promise<void> {
    const { keys } = await storage.readApiKeys();
    const there = new Set(keys.map(({ key }) => key));
    const missing = [...SHARED, ...own.keys()].filter(key => !there.has(key));
    if (missing.length > 0) fault(`read ${keys.length} keys, without ${missing.join(', ')}`);
  }

  const together = (count: number) =>
    Promise.all(Array.from({ length: count }, () => update(pick(SHARED), 'burst')));

  const runtime = process.versions.bun ? 'Bun' : 'Node';
  if (runtime !== job.runtime) throw new Error(`runs on ${runtime}`);
  console.log('ready');
  while (!existsSync(job.go)) await sleep(5);
  const start = performance.now();
  const going = () => performance.now() - start < job.milliseconds;

  async function oneAtATime(): Promise<void> {
    for (let n = 1; going(); n += 1) {
      if (n % 4 === 1) await edit();
      else await update(pick([...SHARED, ...own.keys()]), 'single');
      if (n % 10 === 0) await look();
      await sleep(random(native ? 30 : 3));
    }
  }
  async function bursts(): Promise<void> {
    while (going()) await together(pick([1, 2, 10, 50]));
  }
  await Promise.all([oneAtATime(), native && bursts()]);
  await together(job.burst);
}

if (process.env.JOB) await work(JSON.parse(process.env.JOB), String(process.env.DATA_FILE));
