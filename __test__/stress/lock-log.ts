/**
 * Who held the lock when: a file to which all holders append a line as they enter and one before they leave. The order
 * of the lines is the kernel's order of the appends, so no clock is needed; `process.hrtime` would be none, since on Bun
 * each process has its own zero.
 */
import { openSync, readFileSync, writeSync } from 'node:fs';

export interface Mark {
  what: 'in' | 'out';
  who: string;
}

/** Gives a function that appends a mark to `file`. */
export function marker(file: string, who: string): (what: Mark['what']) => void {
  const log = openSync(file, 'a');
  return what => writeSync(log, `${what} ${who}\n`);
}

export function marks(file: string): Mark[] {
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines.map(line => {
    const [, what, who] = /^(in|out) (\S+)$/.exec(line) ?? [];
    if ((what !== 'in' && what !== 'out') || !who) throw new Error(`no mark: ${line}`);
    return { what, who };
  });
}

/** What can't be if one at a time holds the lock. */
export function overlaps(log: Mark[]): string[] {
  const found: string[] = [];
  const inside: string[] = [];
  for (const { what, who } of log) {
    if (what === 'in') {
      if (inside.length > 0) found.push(`${who} entered while ${inside.join(', ')} was inside`);
      inside.push(who);
    } else {
      const place = inside.indexOf(who);
      if (place < 0) found.push(`${who} left without having entered`);
      else inside.splice(place, 1);
    }
  }
  return [...found, ...inside.map(who => `${who} never left`)];
}

/** How often the lock went from one holder to another one for which `differ` holds. */
export function changes(log: Mark[], differ: (one: string, next: string) => boolean): number {
  const holders = log.filter(({ what }) => what === 'in').map(({ who }) => who);
  return holders.filter((who, n) => n > 0 && differ(String(holders[n - 1]), who)).length;
}
