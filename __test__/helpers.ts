/** What the tests share: folders that go away again, a freshly evaluated module, a clock, child processes. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { vi } from 'vitest';
import type { ApiKey, ApiKeysData } from '../index.js';
import { Ledger as Native } from '../lib/native.js';
import type { Calls } from '../native.cjs';

type Module = typeof import('../index.js');
export type Ledger = Module & { file: string };
export type Env = Record<string, string | undefined>;

const SETTINGS = [
  'CACHE_ENABLED',
  'CACHE_LOG_LEVEL',
  'CACHE_MAX_SIZE',
  'CACHE_REVALIDATE_MS',
  'CACHE_TTL_MS',
  'CACHE_WARMUP_ON_START',
  'DATA_FILE',
  'DATA_FSYNC',
  'LOCK_TIMEOUT_MS',
];

const undo: (() => void)[] = [];
let evaluations = 0;

/** Runs `step` at the end of the test. */
export function later(step: () => void): void {
  undo.push(step);
}

/** For `afterEach`: takes back whatever the helpers did, the last first. */
export function cleanUp(): void {
  vi.restoreAllMocks();
  vi.clearAllMocks();
  for (let step = undo.pop(); step; step = undo.pop()) step();
}

export function tempFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'keyledger-test-'));
  later(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Gives what lookups call of the native side, for each ledger that is opened after this. */
export function watchCalls(): () => Calls[] {
  const asked = vi.spyOn(Native.prototype, 'calls');
  return () => asked.mock.results.map(({ value }) => value);
}

/** The bytes that the contract promises for `data`. */
export function print(data: unknown): string {
  return JSON.stringify(data, null, 2);
}

export function sampleKey(key: string, fields: object = {}): ApiKey {
  return {
    key,
    name: `Owner of ${key.slice(0, 20)}`,
    model: 'glm-4.6',
    token_limit_per_5h: 100000,
    expiry_date: '2099-12-31T23:59:59.000Z',
    created_at: '2025-01-01T00:00:00.000Z',
    last_used: '2025-01-01T00:00:00.000Z',
    total_lifetime_tokens: 0,
    usage_windows: [],
    ...fields,
  };
}

/** Replaces the content of `file` in place; keys are printed as the reference prints them. */
export function save(file: string, content: string | Uint8Array | ApiKey[]): void {
  writeFileSync(file, Array.isArray(content) ? print({ keys: content }) : content);
}

/** The data file as JSON, a byte order mark left out. */
export function parsed(file: string): ApiKeysData {
  return JSON.parse(readFileSync(file, 'utf8').replace(/^\uFEFF/, ''));
}

/** The entry of `key` in the data file. */
export function inFile(file: string, key: string): ApiKey {
  const found = parsed(file).keys.find(entry => entry?.key === key);
  if (!found) throw new Error(`no ${key} in the file`);
  return found;
}

/** What lies beside the data file, the file that flock is taken on left out. */
export function leftovers(file: string): string[] {
  const name = basename(file);
  return readdirSync(dirname(file)).filter(entry => entry !== name && entry !== `${name}.flock`);
}

/** Sets variables of the environment until the end of the test; `undefined` removes one. */
export function setEnv(env: Env): void {
  for (const [name, value] of Object.entries(env)) {
    const before = process.env[name];
    assign(name, value);
    later(() => assign(name, before));
  }
}

function assign(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}

/** Evaluates the module once more, with just these settings. */
export async function load(env: Env): Promise<Module> {
  setEnv({ ...Object.fromEntries(SETTINGS.map(name => [name, undefined])), ...env });
  evaluations += 1;
  return import(/* @vite-ignore */ `../index.js?evaluation=${evaluations}`);
}

/** A fresh module on a data file of its own; without `content` there is no file yet. */
export async function open(
  content?: string | Uint8Array | ApiKey[],
  env: Env = {},
): Promise<Ledger> {
  const file = join(tempFolder(), 'apikeys.json');
  if (content !== undefined) save(file, content);
  return { ...(await load({ DATA_FILE: file, ...env })), file };
}

/** `Date.now()` as the test wants it; real timers go on. */
export function clock(start: number | string = Date.now()) {
  let now = new Date(start).getTime();
  vi.spyOn(Date, 'now').mockImplementation(() => now);
  return {
    now: () => now,
    iso: (offset = 0) => new Date(now + offset).toISOString(),
    advance: (milliseconds: number) => {
      now += milliseconds;
    },
  };
}

/** Collects what goes to `console.log` instead of printing it. */
export function captureLog(): string[] {
  const lines: string[] = [];
  vi.spyOn(console, 'log').mockImplementation((...words: unknown[]) => {
    lines.push(words.map(String).join(' '));
  });
  return lines;
}

export const sleep = (milliseconds: number) =>
  new Promise<void>(resolve => setTimeout(resolve, milliseconds));

/** The error that `promise` rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) return error;
    throw new Error(`rejected with something that is no Error: ${String(error)}`);
  }
  throw new Error('should have rejected');
}

/** `console.log` lines and the way that a child process ended. */
export interface Ended {
  code: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

export interface Child {
  ended: Promise<Ended>;
  /** Resolves once the child has printed `text`. */
  prints(text: string): Promise<void>;
  kill(signal?: NodeJS.Signals): void;
}

/** Where child scripts import the package from. */
export const PACKAGE = new URL('../index.js', import.meta.url).href;

/** The arguments with which this runtime runs `code` as an ES module. */
export function evaluate(code: string): string[] {
  return process.versions.bun ? ['-e', code] : ['--input-type=module', '-e', code];
}

/** Runs a program until the end of the test, with just these settings. */
export function start(program: string, args: string[], env: Env, cwd = tmpdir()): Child {
  const clean = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !SETTINGS.includes(name)),
  );
  const child = spawn(program, args, { cwd, env: { ...clean, ...env }, stdio: 'pipe' });
  later(() => child.kill('SIGKILL'));
  let stdout = '';
  let stderr = '';
  const waiting: { text: string; resolve: () => void; reject: (error: Error) => void }[] = [];
  child.stdout.on('data', chunk => {
    stdout += chunk;
    for (const { text, resolve } of waiting) if (stdout.includes(text)) resolve();
  });
  child.stderr.on('data', chunk => {
    stderr += chunk;
  });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      for (const { text, reject: fail } of waiting)
        fail(new Error(`the child ended without printing ${text}: ${stdout}${stderr}`));
      resolve({ code, signal, stdout, stderr });
    });
  });
  return {
    ended,
    prints: text =>
      new Promise((resolve, reject) => {
        waiting.push({ text, resolve, reject });
        if (stdout.includes(text)) resolve();
      }),
    kill: signal => child.kill(signal),
  };
}

/** Starts a script on the runtime that runs the tests; the exports of the package are in its scope as `ledger`. */
export function script(code: string, env: Env = {}, cwd?: string): Child {
  const source = `import * as ledger from ${JSON.stringify(PACKAGE)};\n${code}`;
  return start(process.execPath, evaluate(source), env, cwd);
}
