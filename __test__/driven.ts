/** A child process that has the package loaded and does what it is told, step by step, on a file of three keys. */
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import process from 'node:process';
import { createInterface } from 'node:readline';
import type { ApiKey } from '../index.js';
import { type Env, evaluate, later, PACKAGE, parsed, sampleKey } from './helpers.ts';

export interface Driven {
  pid: number;
  /** Runs the body of an async function. Gives what it returns, as JSON has it. */
  run<T = unknown>(body: string): Promise<T>;
  /** Lets the process end, and waits until it has. */
  end(): Promise<void>;
}

/** What an update, or any other call, came to. */
export interface Outcome {
  /** `done`, or the code that it rejected with. */
  code: string;
  message: string;
  path: string | undefined;
}

const ANSWER = '\u0001';

const LOOP = `
  import * as ledger from ${JSON.stringify(PACKAGE)};
  import fs from 'node:fs';
  import { createInterface } from 'node:readline';
  const outcome = promise => promise.then(
    () => ({ code: 'done', message: '' }),
    ({ code, message, path }) => ({ code, message, path }),
  );
  const answer = value => console.log('${ANSWER}' + JSON.stringify(value ?? null));
  answer('ready');
  const AsyncFunction = (async () => {}).constructor;
  for await (const line of createInterface({ input: process.stdin })) {
    const step = new AsyncFunction('ledger', 'outcome', 'fs', JSON.parse(line));
    answer(await step(ledger, outcome, fs));
  }
  process.exit(0);
`;

/**
 * Starts one, until the end of the test at the latest, on the runtime that runs the tests. In the scope of what it
 * runs are `ledger`, `fs`, and `outcome(promise)`, which gives an {@link Outcome}. What the package logs is left out.
 *
 * @param wrapper a program and arguments that run the command line which follows them
 */
export async function drive(env: Env, wrapper: string[] = []): Promise<Driven> {
  const [program = '', ...args] = [...wrapper, process.execPath, ...evaluate(LOOP)];
  const child = spawn(program, args, {
    cwd: tmpdir(),
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  later(() => child.kill('SIGKILL'));
  const answers: string[] = [];
  let wake = () => {};
  let how = '';
  const ended = new Promise<void>(resolve =>
    child.on('close', (code, signal) => {
      how = `${code ?? signal}`;
      wake();
      resolve();
    }),
  );
  const lines = createInterface({ input: child.stdout });
  lines.on('line', line => {
    if (line.startsWith(ANSWER)) answers.push(line.slice(ANSWER.length));
    wake();
  });
  const next = async () => {
    for (;;) {
      const answer = answers.shift();
      if (answer !== undefined) return JSON.parse(answer);
      if (how) throw new Error(`the child ended without an answer: ${how}`);
      await new Promise<void>(resolve => {
        wake = resolve;
      });
    }
  };
  await next();
  return {
    pid: child.pid as number,
    run: body => {
      child.stdin.write(`${JSON.stringify(body)}\n`);
      return next();
    },
    end: () => {
      child.stdin.end();
      return ended;
    },
  };
}

export const THREE: ApiKey[] = ['a', 'b', 'c'].map(key => sampleKey(key));

/** The totals of the keys in the file. */
export const totals = (file: string) => parsed(file).keys.map(one => one.total_lifetime_tokens);

/** These totals after {@link recordBatch}. */
export const plusBatch = (all: number[]) => all.map((total, n) => total + 2 ** n);

/** Records 1, 2 and 4 tokens of the three keys at the same time. They must all come to the same. */
export function recordBatch(child: Driven): Promise<Outcome> {
  return child.run(`
    const record = (key, n) => outcome(ledger.updateApiKeyUsage(key, 2 ** n, 'model'));
    const [first, ...others] = await Promise.all(['a', 'b', 'c'].map(record));
    const same = others.every(other => JSON.stringify(other) === JSON.stringify(first));
    return same ? first : { code: 'different', message: JSON.stringify([first, ...others]) };
  `);
}

/** The totals that lookups give. */
export function lookUp(child: Driven): Promise<number[]> {
  return child.run(`
    const found = await Promise.all(['a', 'b', 'c'].map(key => ledger.findApiKey(key)));
    return found.map(entry => entry.total_lifetime_tokens);
  `);
}
