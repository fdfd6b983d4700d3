/** the contract: `withLock` of 'Exports', in one process and with others. */
import { existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  cleanUp,
  evaluate,
  inFile,
  leftovers,
  load,
  open,
  parsed,
  print,
  rejection,
  sampleKey,
  script,
  sleep,
  start,
} from './helpers.ts';

afterEach(cleanUp);

describe('withLock', () => {
  it('gives what fn gives', async () => {
    const { withLock } = await open([]);
    const result = { any: 'value' };
    expect(await withLock(async () => result)).toBe(result);
    expect(await withLock(async () => {})).toBeUndefined();
  });

  it('does not keep what a nested one left over waiting', async () => {
    const { withLock, updateApiKeyUsage, file } = await open([sampleKey('a')], {
      LOCK_TIMEOUT_MS: '1000',
    });
    await withLock(async () => {
      let left = Promise.resolve();
      await withLock(async () => {
        left = sleep(20).then(() => updateApiKeyUsage('a', 5, 'model'));
      });
      await left;
    });
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
  });

  it('rejects with what fn throws, and lets go of the lock', async () => {
    const { withLock, file } = await open([]);
    const reason = new Error('mine');
    expect(await rejection(withLock(() => Promise.reject(reason)))).toBe(reason);
    const thrown = withLock((() => {
      throw reason;
    }) as () => Promise<never>);
    expect(await rejection(thrown)).toBe(reason);
    expect(existsSync(`${file}.lock`)).toBe(false);
    expect(await withLock(async () => 'free')).toBe('free');
  });

  it('runs one fn at a time, in the order of the calls', async () => {
    const { withLock } = await open([]);
    const steps: string[] = [];
    const hold = (name: string) =>
      withLock(async () => {
        steps.push(`${name} in`);
        await sleep(10);
        steps.push(`${name} out`);
      });
    await Promise.all(['a', 'b', 'c'].map(hold));
    expect(steps).toEqual(['a in', 'a out', 'b in', 'b out', 'c in', 'c out']);
  });

  it('keeps other holders in the process out, those of another evaluation too', async () => {
    const first = await open([]);
    const second = await load({ DATA_FILE: first.file });
    let inside = 0;
    const hold = ({ withLock }: Pick<typeof first, 'withLock'>) =>
      withLock(async () => {
        inside += 1;
        expect(inside).toBe(1);
        await sleep(5);
        inside -= 1;
      });
    await Promise.all([first, second, first, second, first, second].map(hold));
    expect(inside).toBe(0);
  });

  it('keeps another process out', async () => {
    const { withLock, file } = await open([]);
    const marker = join(`${file}.inside`);
    const code = `
      import { mkdirSync, rmdirSync } from 'node:fs';
      console.log('ready');
      for (let n = 0; n < 10; n++)
        await ledger.withLock(async () => {
          mkdirSync(${JSON.stringify(marker)});
          await new Promise(resolve => setTimeout(resolve, 3));
          rmdirSync(${JSON.stringify(marker)});
        });
    `;
    const child = script(code, { DATA_FILE: file });
    await child.prints('ready');
    for (let n = 0; n < 10; n += 1)
      await withLock(async () => {
        mkdirSync(marker);
        await sleep(3);
        rmdirSync(marker);
      });
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' });
  }, 20000);

  it('keeps updates of another process waiting, which are then recorded', async () => {
    const { withLock, readApiKeys, writeApiKeys, file } = await open([sampleKey('known')]);
    const code = `
      const pending = ledger.updateApiKeyUsage('known', 5, 'model');
      console.log('ready');
      await pending;
      console.log('done');
    `;
    const child = await withLock(async () => {
      const data = await readApiKeys();
      const started = script(code, { DATA_FILE: file });
      await started.prints('ready');
      await sleep(100);
      expect(inFile(file, 'known').total_lifetime_tokens).toBe(0);
      for (const entry of data.keys) entry.total_lifetime_tokens = 100;
      await writeApiKeys(data);
      return started;
    });
    expect((await child.ended).stdout).toBe('ready\ndone\n');
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(105);
  });

  it('keeps updates of this process from outside waiting', async () => {
    const { withLock, updateApiKeyUsage, file } = await open([sampleKey('known')]);
    let release = () => {};
    const held = withLock(() => new Promise<void>(resolve => (release = resolve)));
    await sleep(20);
    const update = updateApiKeyUsage('known', 5, 'model');
    await sleep(50);
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(0);
    release();
    await held;
    await update;
    expect(inFile(file, 'known').total_lifetime_tokens).toBe(5);
  });

  it('keeps writeApiKeys of this process from outside waiting', async () => {
    const { withLock, readApiKeys, writeApiKeys } = await open([sampleKey('known')]);
    let release = () => {};
    const held = withLock(() => new Promise<void>(resolve => (release = resolve)));
    await sleep(20);
    const write = writeApiKeys({ keys: [] });
    await sleep(50);
    expect((await readApiKeys()).keys.length).toBe(1);
    release();
    await Promise.all([held, write]);
    expect((await readApiKeys()).keys.length).toBe(0);
  });

  it('does not keep lookups waiting', async () => {
    const { withLock, findApiKey, readApiKeys } = await open([sampleKey('known')]);
    let release = () => {};
    const held = withLock(() => new Promise<void>(resolve => (release = resolve)));
    await sleep(20);
    expect((await findApiKey('known'))?.key).toBe('known');
    expect((await readApiKeys()).keys.length).toBe(1);
    release();
    await held;
  });

  it('holds the lock directory while fn runs, and not afterwards', async () => {
    const { withLock, file } = await open([]);
    await withLock(async () => {
      expect(existsSync(`${file}.lock`)).toBe(true);
      await sleep(5);
      expect(existsSync(`${file}.lock`)).toBe(true);
    });
    expect(leftovers(file)).toEqual([]);
  });
});

describe('inside withLock', () => {
  it('reading, changing and writing works', async () => {
    const { withLock, readApiKeys, writeApiKeys, findApiKey, file } = await open([sampleKey('a')]);
    await withLock(async () => {
      const data = await readApiKeys();
      data.keys.push(sampleKey('b'));
      await writeApiKeys(data);
      expect((await findApiKey('b'))?.key).toBe('b');
    });
    expect(readFileSync(file, 'utf8')).toBe(print({ keys: [sampleKey('a'), sampleKey('b')] }));
    expect((await findApiKey('b'))?.key).toBe('b');
  });

  it('100 read-change-write steps at once lose nothing', async () => {
    const { withLock, readApiKeys, writeApiKeys, file } = await open([sampleKey('a')]);
    const step = () =>
      withLock(async () => {
        const data = await readApiKeys();
        for (const entry of data.keys) entry.total_lifetime_tokens += 1;
        await writeApiKeys(data);
      });
    await Promise.all(Array.from({ length: 100 }, step));
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(100);
  }, 20000);

  it('updates work, several at once and after a wait too', async () => {
    const { withLock, updateApiKeyUsage, findApiKey, file } = await open([sampleKey('a')]);
    await withLock(async () => {
      await updateApiKeyUsage('a', 1, 'model');
      expect(inFile(file, 'a').total_lifetime_tokens).toBe(1);
      await sleep(5);
      await Promise.all([2, 3, 4].map(tokens => updateApiKeyUsage('a', tokens, 'model')));
      expect((await findApiKey('a'))?.total_lifetime_tokens).toBe(10);
    });
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(10);
  });

  it('an update does not wait for those from outside that wait for the lock', async () => {
    const { withLock, updateApiKeyUsage, file } = await open([sampleKey('a')]);
    let enter = () => {};
    const waits = new Promise<void>(resolve => {
      enter = resolve;
    });
    const held = withLock(async () => {
      await waits;
      await updateApiKeyUsage('a', 1, 'model');
      return inFile(file, 'a').total_lifetime_tokens;
    });
    await sleep(20);
    const outside = updateApiKeyUsage('a', 10, 'model');
    await sleep(20);
    enter();
    expect(await held).toBe(1);
    await outside;
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(11);
  });

  it('another withLock runs at once, and the lock is held until the outer one ends', async () => {
    const { withLock, updateApiKeyUsage, file } = await open([sampleKey('a')]);
    const result = await withLock(async () => {
      const inner = await withLock(() => withLock(async () => 'inner'));
      expect(existsSync(`${file}.lock`)).toBe(true);
      await updateApiKeyUsage('a', 1, 'model');
      return inner;
    });
    expect(result).toBe('inner');
    expect(existsSync(`${file}.lock`)).toBe(false);
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(1);
  });

  it('flush works', async () => {
    const { withLock, updateApiKeyUsage, flush, file } = await open([sampleKey('a')]);
    await withLock(async () => {
      void updateApiKeyUsage('a', 1, 'model');
      await flush();
      expect(inFile(file, 'a').total_lifetime_tokens).toBe(1);
    });
  });

  it('a call that is left running works after the end: it takes the lock itself', async () => {
    const { withLock, updateApiKeyUsage, file } = await open([sampleKey('a')]);
    let after: Promise<void> | undefined;
    await withLock(async () => {
      after = sleep(20).then(() => updateApiKeyUsage('a', 1, 'model'));
    });
    await withLock(() => sleep(40));
    await after;
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(1);
    expect(existsSync(`${file}.lock`)).toBe(false);
  });
});

describe('updates of several processes', () => {
  it('are all recorded', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a')]);
    const code = `
      for (let n = 0; n < 25; n++) await ledger.updateApiKeyUsage('a', 1, 'model');
      await Promise.all(Array.from({ length: 25 }, () => ledger.updateApiKeyUsage('a', 1, 'model')));
    `;
    const children = [1, 2, 3].map(() => script(code, { DATA_FILE: file }));
    for (let n = 0; n < 50; n += 1) await updateApiKeyUsage('a', 1, 'model');
    for (const { ended } of children) expect(await ended).toMatchObject({ code: 0, stderr: '' });
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(200);
  }, 20000);

  it('and changes under the old protocol do not undo each other', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a')]);
    const code = `
      import { mkdirSync, readFileSync, renameSync, rmdirSync, writeFileSync } from 'node:fs';
      const file = process.env.SHARED;
      const lock = async () => {
        for (;;) {
          try { return mkdirSync(file + '.lock'); } catch { await new Promise(resolve => setTimeout(resolve, 1)); }
        }
      };
      console.log('ready');
      for (let n = 0; n < 50; n++) {
        await lock();
        const data = JSON.parse(readFileSync(file, 'utf8'));
        data.edits = (data.edits ?? 0) + 1;
        await new Promise(resolve => setTimeout(resolve, 1));
        writeFileSync(file + '.theirs', JSON.stringify(data, null, 2));
        renameSync(file + '.theirs', file);
        rmdirSync(file + '.lock');
      }
    `;
    const old = start(process.execPath, evaluate(code), { SHARED: file });
    await old.prints('ready');
    for (let n = 0; n < 50; n += 1) await updateApiKeyUsage('a', 1, 'model');
    expect(await old.ended).toMatchObject({ code: 0, stderr: '' });
    expect(parsed(file)).toMatchObject({ edits: 50, keys: [{ total_lifetime_tokens: 50 }] });
  }, 20000);
});
