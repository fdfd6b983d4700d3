/** Starts writers that are there to be killed, and tells what they left behind. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ApiKeysData } from '../../index.js';
import { type Env, later, print, sampleKey, save, tempFolder } from '../helpers.ts';

const SCRIPT = fileURLToPath(new URL('kill-writer.mjs', import.meta.url));

/** A data file in which each writer has keys of its own; nobody writes the others. */
export class DataFile {
  readonly path = join(realpathSync(tempFolder()), 'apikeys.json');
  readonly #size: number;

  /** @param written the keys that writers have; they are spread over the file */
  constructor(size: number, written: string[]) {
    this.#size = size;
    const names = Array.from({ length: size }, (_, n) => `other-${n}`);
    for (const [n, key] of written.entries())
      names[Math.round((n * (size - 1)) / (written.length - 1))] = key;
    save(
      this.path,
      names.map(key => sampleKey(key)),
    );
  }

  /** The total of a writer's keys, which is the same for all of them in a file that is whole. */
  total(keys: string[]): number {
    if (!existsSync(this.path)) return 0;
    const text = readFileSync(this.path, 'utf8');
    const data: ApiKeysData = JSON.parse(text);
    if (text !== print(data)) throw new Error('the file is not as JSON.stringify prints it');
    const others = data.keys.filter(({ key }) => key.startsWith('other-'));
    if (data.keys.length !== this.#size || others.some(o => print(o) !== print(sampleKey(o.key))))
      throw new Error('keys that nobody writes have changed');
    const totals = data.keys
      .filter(({ key }) => keys.includes(key))
      .flatMap(entry => [
        entry.total_lifetime_tokens,
        entry.usage_windows.reduce((sum, window) => sum + window.tokens_used, 0),
      ]);
    const [total = -1] = totals;
    if (totals.length !== 2 * keys.length || totals.some(other => other !== total))
      throw new Error(`a part of a step is in the file: ${totals}`);
    return total;
  }
}

/** One process of `kill-writer.mjs`. */
export interface Writer {
  pid: number;
  /** How many steps have begun and have resolved, as far as it has told; after its end that is all. */
  told(): { started: number; resolved: number };
  /** Why it stopped by itself; empty while it did not. */
  failure(): string;
  /** Does one step; gives the milliseconds that it took. */
  once(step: string, data?: ApiKeysData): Promise<number>;
  /** Does these steps in a random order until it is stopped. */
  forever(steps: string[]): void;
  stop(): Promise<Ended>;
  kill(): Promise<Ended>;
}

interface Ended {
  code: number | null;
  signal: string | null;
}

/** Starts a writer of these keys; it has loaded the package then, and waits. */
export async function startWriter(path: string, keys: string[], env: Env = {}): Promise<Writer> {
  const child = spawn(process.execPath, [SCRIPT, ...keys], {
    cwd: tmpdir(),
    env: { ...process.env, ...env, DATA_FILE: path },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  later(() => child.kill('SIGKILL'));
  let started = 0;
  let resolved = 0;
  let failure = '';
  let answer = { resolve: (_: string) => {}, reject: (_: Error) => {} };
  const answered = () =>
    new Promise<string>((resolve, reject) => {
      answer = { resolve, reject };
    });
  const ready = answered();
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  const told = new Promise<void>(resolve => lines.on('close', resolve));
  lines.on('line', line => {
    if (line === 's') started += 1;
    else if (line === 'r') resolved += 1;
    else if (line.startsWith('failed')) {
      failure = line;
      answer.reject(new Error(line));
    } else answer.resolve(line);
  });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      answer.reject(new Error(`the writer ended: ${code} ${signal}`));
      void told.then(() => resolve({ code, signal }));
    });
  });
  await ready;
  return {
    pid: child.pid as number,
    told: () => ({ started, resolved }),
    failure: () => failure,
    once: async (step, data) => {
      const done = answered();
      child.send({ once: step, data });
      return Number((await done).replace('done ', ''));
    },
    forever: steps => void child.send({ forever: steps }),
    stop: () => {
      if (child.connected) child.send({ stop: true });
      return ended;
    },
    kill: () => {
      child.kill('SIGKILL');
      return ended;
    },
  };
}

/** Median, 99th percentile and maximum. */
export function spread(milliseconds: number[]): string {
  const sorted = milliseconds.toSorted((a, b) => a - b);
  const at = (share: number) =>
    (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN).toFixed(
      1,
    );
  return `median ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms, of ${sorted.length}`;
}
