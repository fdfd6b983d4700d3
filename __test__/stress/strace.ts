/** System calls of a running process, watched and made to fail by strace. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { later } from '../helpers.ts';

/** A system call as strace prints it, its two halves put together. */
export interface Call {
  thread: string;
  /** Of the call, `openat` for example. */
  name: string;
  /** Which one it is of this name in this thread since strace came, from 1: what `when=` counts. */
  nth: number;
  /** Arguments, with the paths of open files, and result. */
  text: string;
  /** Whether it is one that strace made to fail. */
  injected: boolean;
}

/** Why strace can't be attached to a process of ours; empty when it can. */
export const unattachable: string = probe();

function probe(): string {
  if (spawnSync('strace', ['true']).status !== 0) return 'strace is missing or may not trace';
  // The two are siblings, as they are in the tests: some systems let a process trace its children only.
  const attached = 'sleep 0.2 & strace -qq -o /dev/null -p $!';
  if (spawnSync('sh', ['-c', attached]).status === 0) return '';
  return 'strace may not be attached to a running process';
}

/** The threads of a process, the first of which runs its JavaScript. */
export function threads(pid: number): { main: string[]; others: string[]; all: string[] } {
  const all = readdirSync(`/proc/${pid}/task`);
  return { main: [String(pid)], others: all.filter(thread => thread !== String(pid)), all };
}

/**
 * Attaches strace to threads of a process. What it gives detaches it, and gives the calls that it has seen.
 *
 * @param options which calls to trace and to make fail: `-e trace=...`, `-e inject=...`
 */
export async function attach(
  tasks: string[],
  ...options: string[]
): Promise<() => Promise<Call[]>> {
  const folder = mkdtempSync(join(tmpdir(), 'keyledger-strace-'));
  later(() => rmSync(folder, { recursive: true, force: true }));
  const log = join(folder, 'log');
  const to = tasks.flatMap(task => ['-p', task]);
  const args = ['-y', '-o', log, '-e', 'signal=none', ...options, ...to];
  const strace = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  // By a signal that lets it detach: what it traces goes on.
  later(() => strace.kill('SIGINT'));
  const ended = new Promise<void>(resolve => strace.on('close', () => resolve()));
  let said = '';
  await new Promise<void>((resolve, reject) => {
    strace.stderr.on('data', chunk => {
      said += chunk;
      // A thread that has ended by now can't be attached to, and needn't be.
      if ((said.match(/attached|ptrace/g) ?? []).length >= tasks.length) resolve();
    });
    strace.on('error', reject);
    strace.on('close', () => reject(new Error(`strace could not be attached: ${said}`)));
  });
  return async () => {
    strace.kill('SIGINT');
    await ended;
    const calls = parse(readFileSync(log, 'utf8'), tasks[0] ?? '');
    rmSync(folder, { recursive: true, force: true });
    return calls;
  };
}

/** @param only the thread, where there is but one: its number is not in the log then */
function parse(log: string, only: string): Call[] {
  const calls: Call[] = [];
  const unfinished = new Map<string, Call>();
  const counts = new Map<string, number>();
  for (const line of log.split('\n')) {
    const [, thread = only, rest = ''] = /^(?:(\d+) +)?(.*)$/.exec(line) ?? [];
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const [, name, text = ''] = /^(\w+)\((.*)$/.exec(rest) ?? [];
    let call: Call | undefined;
    if (resumed) {
      call = unfinished.get(thread);
      unfinished.delete(thread);
      if (call) call.text += resumed[1];
    } else if (name) {
      const nth = (counts.get(thread + name) ?? 0) + 1;
      counts.set(thread + name, nth);
      call = {
        thread,
        name,
        nth,
        text: text.replace(/ *<unfinished \.\.\.>$/, ''),
        injected: false,
      };
      calls.push(call);
      if (text !== call.text) unfinished.set(thread, call);
    }
    if (call) call.injected ||= call.text.endsWith('(INJECTED)');
  }
  return calls;
}
