// Load by wrk. Each connection sends its next request when the last one is answered, and the time of a request begins when
// it is sent. So a stop of the gateway keeps back what independent clients would have sent meanwhile, and shows in fewer
// requests than they would have waited with (coordinated omission): percentiles are to be compared, not to be promised.
import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

/** After this many seconds an answer will not come any more. */
const LATE = 10;

export interface Load {
  requests: number;
  /** Answers that say that something is wrong. */
  refused: number;
  /** Faults of a connection. */
  broken: number;
  /** Answers that took longer than LATE. */
  late: number;
  seconds: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
  'p99.9': number;
}

/** Throws if there is no wrk and none can be installed. */
export function needWrk(): void {
  const missing = () => spawnSync('wrk', ['--version']).error !== undefined;
  if (!missing()) return;
  if (process.getuid?.() === 0) {
    const install = 'apt-get update && apt-get install -y wrk';
    // The standard output is for the rows.
    spawnSync('sh', ['-c', install], { stdio: ['ignore', 2, 2] });
  }
  if (missing()) throw new Error('this benchmark needs wrk: install the package `wrk`');
}

/** Sends as many requests as are answered, for the keys that a file has, one a line. */
export function load(url: string, keys: string, connections: number, seconds: number): Load {
  const script = fileURLToPath(new URL('load.lua', import.meta.url));
  const options = ['-t', '1', '-c', String(connections), '-d', `${seconds}s`];
  const args = [...options, '--timeout', `${LATE}s`, '-s', script, url, '--', keys];
  const { stdout, stderr } = spawnSync('wrk', args, { encoding: 'utf8' });
  try {
    return JSON.parse(String(stdout.trim().split('\n').at(-1)));
  } catch {
    throw new Error(`wrk failed: ${stderr || stdout}`);
  }
}
