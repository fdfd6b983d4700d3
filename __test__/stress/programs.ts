/** Runs the programs beside this file that measure themselves, and compares what they tell. */
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { type Env, start } from '../helpers.ts';

/** Runs one of the programs on the runtime that runs the tests, to its end, and gives what it has printed as JSON. */
export async function run<Report>(program: string, job: object, env: Env): Promise<Report> {
  const path = fileURLToPath(new URL(program, import.meta.url));
  const args = process.versions.bun ? [path] : ['--expose-gc', path];
  const ended = await start(process.execPath, args, { ...env, JOB: JSON.stringify(job) }).ended;
  const { stdout, ...end } = ended;
  expect(end).toEqual({ code: 0, signal: null, stderr: '' });
  return JSON.parse(stdout);
}

export function median(numbers: number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

/** The first to the last quarter of what was measured one after the other. */
export function quarters(numbers: number[]): number[][] {
  const length = numbers.length / 4;
  return [0, 1, 2, 3].map(n => numbers.slice(Math.floor(n * length), Math.floor((n + 1) * length)));
}

/** What the runtime is called in what the full form prints. */
export const RUNTIME: string = process.versions.bun ? 'Bun' : 'Node.js';
