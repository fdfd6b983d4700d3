/** the contract: 'Errors', for faults that the system really has: a full disk, a file system that can't be written, no
 * more open files, a folder that belongs to somebody else. */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type Driven,
  drive,
  lookUp,
  type Outcome,
  plusBatch,
  recordBatch,
  THREE,
  totals,
} from './driven.ts';
import { cleanUp, later, leftovers, open, print, save, tempFolder } from './helpers.ts';

afterEach(cleanUp);

const NOBODY = 65534;
const AT_ONCE = { CACHE_REVALIDATE_MS: '0' };
const run = (program: string, ...args: string[]) =>
  execFileSync(program, args, { stdio: 'ignore' });

/** A file system of its own, until the end of the test. */
function mounted(options: string): string {
  const folder = tempFolder();
  run('mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder);
  later(() => run('umount', folder));
  return folder;
}

/** Whether this process may mount a file system. */
function mayMount(): boolean {
  try {
    mounted('size=64k');
    return true;
  } catch {
    return false;
  } finally {
    cleanUp();
  }
}

/** Every kind of write is refused, the file and the folder stay as they are, and lookups answer all the while. */
async function expectRefused(child: Driven, file: string, code: string): Promise<void> {
  const before = readFileSync(file);
  const beside = leftovers(file);
  const writes = [
    () => recordBatch(child),
    () => child.run<Outcome>(`return outcome(ledger.writeApiKeys(${print({ keys: THREE })}));`),
    () =>
      child.run<Outcome>(`
        return outcome(ledger.withLock(async () => {
          const data = await ledger.readApiKeys();
          data.keys.pop();
          await ledger.writeApiKeys(data);
        }));
      `),
    () => recordBatch(child),
  ];
  for (const write of writes) {
    const { message, ...rest } = await write();
    expect({ message, ...rest }).toMatchObject({ code });
    expect(message).toContain(dirname(file));
    expect(readFileSync(file)).toEqual(before);
    expect(leftovers(file)).toEqual(beside);
    expect(await lookUp(child)).toEqual(totals(file));
    expect(await child.run(`return ledger.findApiKey('unknown');`)).toBeNull();
  }
}

/** Two batches are recorded, each once. */
async function expectRecorded(child: Driven, file: string): Promise<void> {
  const beside = leftovers(file);
  for (let n = 0; n < 2; n += 1) {
    const expected = plusBatch(totals(file));
    expect(await recordBatch(child)).toMatchObject({ code: 'done', message: '' });
    expect(totals(file)).toEqual(expected);
    expect(await lookUp(child)).toEqual(expected);
    expect(leftovers(file)).toEqual(beside);
  }
}

/** Takes all that there is, in pieces. Gives how many. */
function takeAll(folder: string): number {
  for (let n = 0; ; n += 1) {
    const piece = join(folder, `piece-${n}`);
    try {
      writeFileSync(piece, Buffer.alloc(4096));
    } catch (error) {
      rmSync(piece, { force: true });
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return n;
      throw error;
    }
  }
}

const free = (folder: string, from: number, to: number) => {
  for (let n = from; n < to; n += 1) rmSync(join(folder, `piece-${n}`));
};

const mounts = mayMount();
const unmounted = mounts ? '' : ' (skipped: no file system may be mounted here)';

describe.skipIf(!mounts).each([
  ['space', 'size=256k'],
  ['room for more files', 'size=1m,nr_inodes=40'],
])(`a disk that has no %s left${unmounted}`, (_, options) => {
  it.each(['before the first write', 'after a write'])(
    'refuses writes with ENOSPC, %s, until there is some',
    async when => {
      const file = join(mounted(options), 'apikeys.json');
      save(file, THREE);
      const child = await drive({ DATA_FILE: file, ...AT_ONCE });
      if (when === 'after a write') await recordBatch(child);
      await lookUp(child);
      const pieces = takeAll(dirname(file));
      await expectRefused(child, file, 'ENOSPC');
      free(dirname(file), 0, pieces);
      await expectRecorded(child, file);
      await child.end();
    },
    20000,
  );

  it('either takes a batch or refuses all of it, however little is left', async () => {
    const file = join(mounted(options), 'apikeys.json');
    const filler = { ...THREE[0], key: 'filler', name: 'x'.repeat(20000) };
    writeFileSync(file, print({ keys: [...THREE, filler] }));
    const child = await drive({ DATA_FILE: file, ...AT_ONCE });
    const pieces = takeAll(dirname(file));
    const codes: string[] = [];
    for (let freed = 0; freed < 12; freed += 1) {
      const before = totals(file).slice(0, 3);
      const { code } = await recordBatch(child);
      codes.push(code);
      expect(totals(file).slice(0, 3)).toEqual(code === 'done' ? plusBatch(before) : before);
      expect(await lookUp(child)).toEqual(totals(file).slice(0, 3));
      expect(leftovers(file).filter(name => !name.startsWith('piece-'))).toEqual([]);
      free(dirname(file), freed, freed + 1);
    }
    // From some point on there is enough.
    const enough = codes.indexOf('done');
    expect(enough).toBeGreaterThan(0);
    expect(codes).toEqual(codes.map((_, n) => (n < enough ? 'ENOSPC' : 'done')));
    free(dirname(file), 12, pieces);
    await child.end();
  }, 20000);
});

describe.skipIf(!mounts)(`a file system that can't be written${unmounted}`, () => {
  const remount = (folder: string, how: string) => run('mount', '-o', `remount,${how}`, folder);

  it.each(['before the first write', 'after a write'])(
    'refuses writes with EROFS, %s, until it can be',
    async when => {
      const file = join(mounted('size=256k'), 'apikeys.json');
      save(file, THREE);
      const first = when === 'before the first write';
      if (first) remount(dirname(file), 'ro');
      const child = await drive({ DATA_FILE: file, ...AT_ONCE });
      if (!first) {
        await recordBatch(child);
        remount(dirname(file), 'ro');
      }
      await expectRefused(child, file, 'EROFS');
      remount(dirname(file), 'rw');
      await expectRecorded(child, file);
      await child.end();
    },
    20000,
  );
});

describe('no more open files', () => {
  it('is EMFILE, whichever of the files of a write is the first too many', async () => {
    const { file } = await open(THREE);
    const limited = ['sh', '-c', 'ulimit -n 128; exec "$0" "$@"'];
    const child = await drive({ DATA_FILE: file, ...AT_ONCE }, limited);
    await recordBatch(child);
    await child.run(`
      globalThis.opened = [];
      try { for (;;) opened.push(fs.openSync('/dev/null')); } catch {}
    `);
    const codes: string[] = [];
    for (let left = 0; left < 10; left += 1) {
      const before = totals(file);
      const bytes = readFileSync(file, 'utf8');
      const { code, message } = await recordBatch(child);
      codes.push(code);
      if (code !== 'done') {
        expect(message).toContain(dirname(file));
        expect(readFileSync(file, 'utf8')).toBe(bytes);
      }
      expect(totals(file)).toEqual(code === 'done' ? plusBatch(before) : before);
      expect(await lookUp(child)).toEqual(totals(file));
      expect(leftovers(file)).toEqual([]);
      await child.run(`fs.closeSync(opened.pop());`);
    }
    const enough = codes.indexOf('done');
    expect(enough).toBeGreaterThan(1);
    expect(codes).toEqual(codes.map((_, n) => (n < enough ? 'EMFILE' : 'done')));
    await child.run(`for (const one of opened) fs.closeSync(one);`);
    await expectRecorded(child, file);
    await child.end();
  }, 20000);
});

const root = process.getuid?.() === 0;
const unprivileged = root ? '' : ' (skipped: only root can be somebody else)';
describe.skipIf(!root)(`access that is refused${unprivileged}`, () => {
  it.each<[string, (file: string) => string, number]>([
    ['the folder can only be read', dirname, 0o555],
    ['the folder can only be read, and is not entered either', dirname, 0o444],
    ['the lock file may not be opened', file => `${file}.flock`, 0o000],
  ])(
    '%s: EACCES, until it is granted',
    async (_, path, mode) => {
      const { file } = await open(THREE);
      for (const one of [file, dirname(file)]) chownSync(one, NOBODY, NOBODY);
      const child = await drive({ DATA_FILE: file, ...AT_ONCE });
      await child.run(`process.setgid(${NOBODY}); process.setuid(${NOBODY});`);
      await expectRecorded(child, file);
      for (let n = 0; n < 2; n += 1) {
        chmodSync(path(file), mode);
        await expectRefused(child, file, 'EACCES');
        chmodSync(path(file), 0o700);
        await expectRecorded(child, file);
      }
      await child.end();
    },
    20000,
  );

  it('the file may not be read: EACCES for updates, until it is granted', async () => {
    const { file } = await open(THREE);
    chownSync(dirname(file), NOBODY, NOBODY);
    const child = await drive({ DATA_FILE: file, ...AT_ONCE });
    await child.run(`process.setgid(${NOBODY}); process.setuid(${NOBODY});`);
    await lookUp(child);
    save(file, [...THREE]);
    chmodSync(file, 0o600);
    const before = readFileSync(file, 'utf8');
    const { code, message } = await recordBatch(child);
    expect(code).toBe('EACCES');
    expect(message).toContain(file);
    expect(readFileSync(file, 'utf8')).toBe(before);
    expect(await lookUp(child)).toEqual([0, 0, 0]);
    expect(leftovers(file)).toEqual([]);
    chmodSync(file, 0o644);
    await expectRecorded(child, file);
    await child.end();
  }, 20000);

  it("the folder is sticky and the file is somebody else's: EPERM, until it is not", async () => {
    const { file } = await open(THREE);
    chmodSync(file, 0o666);
    chmodSync(dirname(file), 0o777);
    const child = await drive({ DATA_FILE: file, ...AT_ONCE });
    await child.run(`process.setgid(${NOBODY}); process.setuid(${NOBODY});`);
    await lookUp(child);
    chmodSync(dirname(file), 0o1777);
    await expectRefused(child, file, 'EPERM');
    chmodSync(dirname(file), 0o777);
    await expectRecorded(child, file);
    await child.end();
  }, 20000);
});
