// Scripts that a benchmark runs in processes of their own. Each answers lines on its standard input.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { check } from './measure.ts';

export interface Child<Question, Answer> {
  ask(question: Question): Promise<Answer>;
  /** Resolves once the process has ended. */
  end(): Promise<void>;
}

/** Starts a script of this folder, with these variables in its environment and these options for the runtime. */
export async function start<Question, Answer>(
  name: string,
  env: Record<string, string> = {},
  options: string[] = [],
): Promise<Child<Question, Answer>> {
  const script = fileURLToPath(new URL(name, import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, ...options, script], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    check(!done, `${name} has ended`);
    const { answer, fault } = JSON.parse(value as string);
    if (fault !== undefined) throw new Error(fault);
    return answer;
  };
  await next();
  return {
    ask: question => {
      child.stdin.write(`${JSON.stringify(question)}\n`);
      return next();
    },
    end: async () => {
      child.stdin.end();
      await ended;
    },
  };
}

/** What such a script does: it says that it is ready, and answers until there are no more questions. */
export async function serve<Question, Answer>(answer: (question: Question) => Promise<Answer>) {
  console.log('{}');
  for await (const line of createInterface({ input: process.stdin })) {
    const said = await answer(JSON.parse(line)).then(
      answer => ({ answer }),
      error => ({ fault: error.message }),
    );
    console.log(JSON.stringify(said));
  }
}
