import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { ApiKey } from '../index.js';

const EXAMPLE = fileURLToPath(new URL('../examples/gateway/', import.meta.url));
const DEADLINE_MS = 20_000;

const cleanups: (() => unknown)[] = [];

/** A loaded machine may be slow; the runners' own limit is 5 s. */
export const TIMEOUT_MS = 60_000;

/** A test with that much time. */
export const it = (name: string, run: () => unknown) => test(name, run, TIMEOUT_MS);

/** Undoes what the harness started, the latest first. For `afterAll`. */
export async function cleanUp(): Promise<void> {
  for (let undo = cleanups.pop(); undo; undo = cleanups.pop()) await undo();
}

export function sleep(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms));
}

/** Calls `probe` until it no longer throws, and gives its result. */
export async function eventually<T>(probe: () => T | Promise<T>): Promise<T> {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    try {
      return await probe();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(20);
    }
  }
}

export function hoursAgo(hours: number): string {
  return new Date(Date.now() - hours * 3_600_000).toISOString();
}

export function apiKey(key: string, rest: Partial<ApiKey> = {}): ApiKey {
  return {
    key,
    name: `name of ${key}`,
    token_limit_per_5h: 1_000_000,
    expiry_date: '2999-01-01T00:00:00.000Z',
    created_at: '2026-01-01T00:00:00.000Z',
    last_used: '2026-01-01T00:00:00.000Z',
    total_lifetime_tokens: 0,
    usage_windows: [],
    ...rest,
  };
}

export interface Gateway {
  url: string;
  file: string;
  /** What it has printed so far. */
  log(): string;
  /** What the file holds of a key. */
  stored(key: string): Promise<ApiKey>;
  signal(signal: NodeJS.Signals): void;
  /** The exit code, or the signal that ended it. */
  exited: Promise<number | NodeJS.Signals | null>;
}

/** The environment of this process without what would set up a gateway. */
function cleanEnv(): NodeJS.ProcessEnv {
  const ours = /^(UPSTREAM_|CACHE_|DATA_|LOCK_|SHUTDOWN_|HOST$|PORT$|NODE_OPTIONS$)/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours.test(name)));
}

/** Starts the example on the runtime that runs the test. */
export async function startGateway(
  keys: ApiKey[],
  env: Record<string, string> = {},
): Promise<Gateway> {
  const folder = await mkdtemp(join(tmpdir(), 'keyledger-gateway-'));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'apikeys.json');
  await writeFile(file, JSON.stringify({ keys }, null, 2));

  const loader = process.versions.bun ? [] : ['--import', 'tsx'];
  const child = spawn(process.execPath, [...loader, 'server.ts'], {
    cwd: EXAMPLE,
    env: { ...cleanEnv(), DATA_FILE: file, PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = new Promise<number | NodeJS.Signals | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? signal));
  });
  cleanups.push(() => {
    child.kill('SIGKILL');
    return exited;
  });

  const log = collectOutput(child);
  const url = await eventually(() => {
    const ready = /^gateway listening on (http:\S+)$/m.exec(log());
    if (!ready?.[1]) throw new Error(`the gateway does not listen; it printed: ${log()}`);
    return ready[1];
  });
  return {
    url,
    file,
    log,
    exited,
    signal: signal => void child.kill(signal),
    async stored(key) {
      const data = JSON.parse(await readFile(file, 'utf8')) as { keys: ApiKey[] };
      const record = data.keys.find(each => each.key === key);
      if (!record) throw new Error(`no ${key} in the file`);
      return record;
    },
  };
}

function collectOutput(child: ChildProcess): () => string {
  let output = '';
  const add = (chunk: Buffer) => {
    output += chunk;
  };
  child.stdout?.on('data', add);
  child.stderr?.on('data', add);
  return () => output;
}

export interface Seen {
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  body: Buffer;
}

type Answer = (res: ServerResponse, seen: Seen) => unknown;

export interface FakeUpstream {
  url: string;
  /** All requests that came so far. */
  seen: Seen[];
  /** What the next requests whose path has this query get. Chosen by `?answer=NAME`. */
  answers: Record<string, Answer>;
}

/** An upstream that does what the test says, request by request. */
export async function startUpstream(answers: Record<string, Answer>): Promise<FakeUpstream> {
  const seen: Seen[] = [];
  const server = createServer(async (req, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk);
    const { method = '', url = '', headers } = req;
    const request = { method, url, headers, body: Buffer.concat(chunks) };
    seen.push(request);
    const name = new URL(url, 'http://upstream').searchParams.get('answer') ?? 'default';
    await answers[name]?.(res, request);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => closeServer(server));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, seen, answers };
}

function closeServer(server: Server): void {
  server.close();
  server.closeAllConnections();
}

/** A port on which nobody listens. */
export async function unusedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise(resolve => server.close(resolve));
  return port;
}

export const CHAT = '/v1/chat/completions';
export const MESSAGES = '/v1/messages';

/** Sends `body`, as JSON unless it is text or bytes already. */
export function post(
  gateway: Gateway,
  path: string,
  key: string | null,
  body: unknown,
  init: RequestInit = {},
): Promise<Response> {
  const headers = new Headers(init.headers);
  if (!headers.has('content-type')) headers.set('content-type', 'application/json');
  if (key) headers.set('authorization', `Bearer ${key}`);
  const raw = typeof body === 'string' || body instanceof Uint8Array;
  const text = raw ? body : JSON.stringify(body);
  return fetch(gateway.url + path, { method: 'POST', ...init, headers, body: text as string });
}

/** A request for an answer of 3 + 5 tokens from the stand-in. */
export const ask = (rest: object = {}) => ({
  model: 'small',
  messages: [{ role: 'user', content: 'one two three' }],
  ...rest,
});

/** The JSON of every `data:` line. */
export function events(text: string): Record<string, unknown>[] {
  const lines = text.split('\n').filter(line => line.startsWith('data: {'));
  return lines.map(line => JSON.parse(line.slice(6)));
}

/** Waits until the file holds a first usage of `tokens` for the key. */
export async function expectRecorded(gateway: Gateway, key: string, tokens: number): Promise<void> {
  await eventually(async () => {
    const record = await gateway.stored(key);
    expect(record.total_lifetime_tokens).toBe(tokens);
    expect(record.usage_windows.map(window => window.tokens_used)).toEqual([tokens]);
    expect(record.last_used > hoursAgo(1)).toBe(true);
  });
}
