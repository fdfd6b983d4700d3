/** the contract: 'Errors', `ELOCKED`; the row of the table at the end on a holder that dies, where it is one of ours. */
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import {
  cleanUp,
  inFile,
  leftovers,
  open,
  print,
  rejection,
  sampleKey,
  script,
  sleep,
} from './helpers.ts';

afterEach(cleanUp);

/** For a script: takes the lock and keeps it. */
const HOLD = `
  await ledger.withLock(() => {
    console.log('held');
    return new Promise(() => setInterval(() => {}, 1000));
  });
`;

describe('a lock directory of the old protocol', () => {
  it('that is let go after 300 ms keeps an update waiting, which then succeeds', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a')]);
    mkdirSync(`${file}.lock`);
    const update = updateApiKeyUsage('a', 5, 'model');
    await sleep(300);
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(0);
    rmdirSync(`${file}.lock`);
    await update;
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
  });

  it('that stays makes every writer reject with ELOCKED in time, and nothing is written', async () => {
    const { updateApiKeyUsage, writeApiKeys, withLock, findApiKey, file } = await open(
      [sampleKey('a')],
      { LOCK_TIMEOUT_MS: '200' },
    );
    mkdirSync(`${file}.lock`);
    let ran = false;
    const calls = [
      updateApiKeyUsage('a', 5, 'model'),
      writeApiKeys({ keys: [] }),
      withLock(async () => {
        ran = true;
      }),
    ];
    for (const error of await Promise.all(calls.map(rejection))) {
      expect(error.code).toBe('ELOCKED');
      expect(error.message).toContain(file);
    }
    expect(ran).toBe(false);
    expect(existsSync(`${file}.lock`)).toBe(true);
    expect(readFileSync(file, 'utf8')).toBe(print({ keys: [sampleKey('a')] }));
    expect((await findApiKey('a'))?.total_lifetime_tokens).toBe(0);
    rmdirSync(`${file}.lock`);
    await updateApiKeyUsage('a', 7, 'model');
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(7);
    expect(leftovers(file)).toEqual([]);
  });
});

describe('a holder of ours', () => {
  it('that keeps the lock makes others reject with ELOCKED', async () => {
    const first = await open([sampleKey('a')], { LOCK_TIMEOUT_MS: '200' });
    const child = script(HOLD, { DATA_FILE: first.file });
    await child.prints('held');
    const error = await rejection(first.updateApiKeyUsage('a', 5, 'model'));
    expect(error.code).toBe('ELOCKED');
    expect(error.message).toContain(first.file);
    expect(inFile(first.file, 'a').total_lifetime_tokens).toBe(0);
    child.kill('SIGKILL');
    await child.ended;
    await first.updateApiKeyUsage('a', 7, 'model');
    expect(inFile(first.file, 'a').total_lifetime_tokens).toBe(7);
    expect(leftovers(first.file)).toEqual([]);
  });

  it('that exits inside withLock leaves a lock that the next writer gets', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a')], { LOCK_TIMEOUT_MS: '2000' });
    const child = script(`await ledger.withLock(async () => process.exit(0));`, {
      DATA_FILE: file,
    });
    expect((await child.ended).code).toBe(0);
    await updateApiKeyUsage('a', 5, 'model');
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
    expect(leftovers(file)).toEqual([]);
  });

  it('that is killed, and whose directory somebody removes, does not give away the lock of the next', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a')], { LOCK_TIMEOUT_MS: '1000' });
    const lock = `${file}.lock`;
    const child = script(HOLD, { DATA_FILE: file });
    await child.prints('held');
    child.kill('SIGKILL');
    await child.ended;
    const left = statSync(lock).ino;
    rmSync(lock, { recursive: true });
    // The next directory often gets the number of the one that was removed last: here until it does, at best.
    for (let n = 0; n < 100; n += 1) {
      mkdirSync(lock);
      if (statSync(lock).ino === left) break;
      rmdirSync(lock);
    }
    mkdirSync(lock, { recursive: true });
    expect((await rejection(updateApiKeyUsage('a', 5, 'model'))).code).toBe('ELOCKED');
    expect(existsSync(lock)).toBe(true);
    rmdirSync(lock);
    await updateApiKeyUsage('a', 7, 'model');
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(7);
  });
});

describe('ELOCKED', () => {
  /** What it says of the holder, and the holder's age in seconds. */
  function told(error: Error & { code?: string; path?: string }, file: string) {
    expect(error.code).toBe('ELOCKED');
    expect(error.path).toContain(file);
    expect(error.message).toContain(file);
    const holder = error.message.replaceAll(file, 'FILE');
    const [, number, unit] = /(\d+(?:\.\d+)?) (m?s)\b/.exec(holder) ?? [];
    return { holder, age: Number(number) / (unit === 'ms' ? 1000 : 1) };
  }

  it('names another process of ours by its number, and how long it has had the lock', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a')], { LOCK_TIMEOUT_MS: '100' });
    const start = performance.now();
    const child = script(`console.log('number', process.pid);${HOLD}`, { DATA_FILE: file });
    await child.prints('held');
    await sleep(500);
    const error = await rejection(updateApiKeyUsage('a', 5, 'model'));
    const longest = (performance.now() - start) / 1000;
    child.kill('SIGKILL');
    const number = /^number (\d+)$/m.exec((await child.ended).stdout)?.[1];
    const { holder, age } = told(error, file);
    expect(holder).toContain('another keyledger');
    expect(holder).toMatch(new RegExp(`\\b${number}\\b`));
    expect(age).toBeGreaterThanOrEqual(0.4);
    expect(age).toBeLessThanOrEqual(longest + 0.1);
  });

  it('names a program that locks by directory as that, and how long it has had the lock', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a')], { LOCK_TIMEOUT_MS: '100' });
    const start = performance.now();
    mkdirSync(`${file}.lock`);
    const before = new Date(Date.now() - 90_000);
    utimesSync(`${file}.lock`, before, before);
    const { holder, age } = told(await rejection(updateApiKeyUsage('a', 5, 'model')), file);
    expect(holder).toContain('locks by directory');
    expect(holder).not.toContain('another keyledger');
    expect(age).toBeGreaterThanOrEqual(89.9);
    expect(age).toBeLessThanOrEqual(90.1 + (performance.now() - start) / 1000);
  });
});
