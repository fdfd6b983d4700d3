// What the oracle tests share: the reference and keyledger side by side, each on a file of its own.
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type Storage = typeof import('../bench/baseline/storage.ts');

export interface Side {
  name: string;
  storage: Storage;
  /** The bytes of the data file, as text; `null` when there is none. */
  text(): string | null;
  /** Replaces the data file behind the module's back, and makes the module forget what it had cached. */
  plant(text: string | null): void;
}

export interface Pair {
  reference: Side;
  ledger: Side;
  remove(): void;
}

const REFERENCE = '../bench/baseline/storage.ts';
const LEDGER = '../index.js';

let evaluations = 0;

async function load(name: string, specifier: string, folder: string): Promise<Side> {
  const file = join(folder, 'apikeys.json');
  const before = process.env.DATA_FILE;
  process.env.DATA_FILE = file;
  evaluations += 1;
  // The query evaluates it anew where the test runner keeps modules from one test file to the next, as Bun does.
  const storage: Storage = await import(/* @vite-ignore */ `${specifier}?oracle=${evaluations}`);
  if (before === undefined) delete process.env.DATA_FILE;
  else process.env.DATA_FILE = before;

  return {
    name,
    storage,
    text() {
      try {
        return readFileSync(file, 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
        throw error;
      }
    },
    plant(text) {
      if (text === null) {
        rmSync(file, { force: true });
      } else {
        writeFileSync(`${file}.planted`, text);
        renameSync(`${file}.planted`, file);
      }
      storage.apiKeyCache.clear();
    },
  };
}

export async function loadPair(): Promise<Pair> {
  const folders = ['reference', 'ledger'].map(name =>
    mkdtempSync(join(tmpdir(), `oracle-${name}-`)),
  ) as [string, string];
  return {
    reference: await load('reference', REFERENCE, folders[0]),
    ledger: await load('ledger', LEDGER, folders[1]),
    remove() {
      for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Answers are compared as JSON prints them: the order of the fields counts, and `-0` is the `0` that the file holds. */
export function printed(answer: unknown): string {
  return JSON.stringify(answer, null, 1) ?? 'undefined';
}

/** mulberry32: small, seeded, good enough to choose test steps. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** A whole number from 0 to `below - 1`. */
  int(below: number): number {
    return Math.floor(this.next() * below);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.int(choices.length)] as T;
  }
}

/** The seed of this run: `KEYLEDGER_SEED`, or another one each time. */
export const SEED = process.env.KEYLEDGER_SEED
  ? Number.parseInt(process.env.KEYLEDGER_SEED, 10)
  : Math.floor(Math.random() * 2 ** 31);
