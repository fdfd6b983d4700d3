// Trials in turn, A B A B, each in a process of its own; a driver that answers wrong is reported, not timed.
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Child, start } from './child.ts';
import type { Driver } from './drivers.ts';
import { type Column, type Figure, figure, folder, makeData } from './measure.ts';

/** Makes a store for each driver, and gives their folders. */
export async function makeStores(run: string, drivers: Driver[], count: number) {
  const data = makeData(count);
  const folders = new Map<Driver, string>();
  for (const driver of drivers) {
    const path = join(folder, run, driver.name);
    mkdirSync(path, { recursive: true });
    await driver.make(path, data);
    folders.set(driver, path);
  }
  return folders;
}

/** A copy of a store, for one trial: the one before is gone. */
export function copyStore(from: string): string {
  const own = join(folder, 'trial');
  rmSync(own, { recursive: true, force: true });
  cpSync(from, own, { recursive: true });
  return own;
}

/** The results of the trials of each who took part, by the name of the figure; or what was wrong with its answers. */
export class Results {
  readonly #numbers = new Map<string, number[]>();
  readonly #wrong = new Map<Column, string>();

  add(who: Column, what: string, number: number): void {
    const key = `${who}: ${what}`;
    this.#numbers.set(key, [...(this.#numbers.get(key) ?? []), number]);
  }

  wrong(who: Column, why: string): void {
    this.#wrong.set(who, why);
  }

  isWrong(who: Column): boolean {
    return this.#wrong.has(who);
  }

  /** By who has it; `scale` is what it is multiplied with. */
  figures(what: string, scale = 1): Partial<Record<Column, Figure | string>> {
    const figures: Partial<Record<Column, Figure | string>> = Object.fromEntries(
      [...this.#wrong].map(([who, why]) => [who, `wrong: ${why}`]),
    );
    for (const [key, numbers] of this.#numbers) {
      const [who, name] = key.split(': ') as [Column, string];
      if (name === what && !this.isWrong(who))
        figures[who] = figure(numbers.map(number => number * scale));
    }
    return figures;
  }
}

/** What is wrong with the updates that a store holds, if something is: it has grown by so many. */
export function faultOf(
  { name }: Driver,
  grown: number,
  { resolved, rejected }: { resolved: number; rejected: number },
): string | undefined {
  if (grown < resolved) return `${resolved - grown} of ${resolved} updates are lost`;
  // What the baseline rejects it may have recorded all the same.
  const most = resolved + (name === 'baseline' ? rejected : 0);
  return grown > most ? `${grown - most} updates count twice` : undefined;
}

/** Bun collects garbage by itself while nothing is to do. */
const OPTIONS = process.versions.bun ? [] : ['--expose-gc'];

/** Runs `work` with a child process, and ends that. */
export async function withChild<Question, Answer>(
  script: string,
  env: Record<string, string>,
  work: (child: Child<Question, Answer>) => Promise<void>,
): Promise<void> {
  const child = await start<Question, Answer>(script, env, OPTIONS);
  try {
    await work(child);
  } finally {
    await child.end();
  }
}
