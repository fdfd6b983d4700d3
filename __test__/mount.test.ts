/** the contract: 'Errors', for a data file that is mounted by itself and so can't be replaced. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterEach, expect, it } from 'vitest';
import { cleanUp, later, leftovers, open, rejection, sampleKey } from './helpers.ts';

afterEach(cleanUp);

const run = (program: string, ...args: string[]) =>
  execFileSync(program, args, { stdio: 'ignore' });

/** Whether this process may mount a file. */
function mayMount(): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  const folder = mkdtempSync(join(tmpdir(), 'keyledger-test-'));
  const file = join(folder, 'file');
  try {
    writeFileSync(file, '');
    run('mount', '--bind', file, file);
    run('umount', file);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

it.skipIf(!mayMount())(
  'a data file mounted by itself: writes reject with EBUSY, say what to mount, and leave all as it is',
  async () => {
    const { findApiKey, updateApiKeyUsage, writeApiKeys, file } = await open([sampleKey('a')]);
    const before = readFileSync(file, 'utf8');
    run('mount', '--bind', file, file);
    later(() => run('umount', file));
    for (const write of [
      () => updateApiKeyUsage('a', 5, 'model'),
      () => writeApiKeys({ keys: [] }),
    ]) {
      const error = await rejection(write());
      expect(error.code).toBe('EBUSY');
      expect(error.message).toContain(file);
      expect(error.message).toContain('mount the folder');
      expect(readFileSync(file, 'utf8')).toBe(before);
      expect(leftovers(file)).toEqual([]);
    }
    expect(await findApiKey('a')).toEqual(sampleKey('a'));
  },
);
