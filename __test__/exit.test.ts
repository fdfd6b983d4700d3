/** the contract: 'Recording usage' and `withLock`, when the process ends while the lock is held, by it or by others. */
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import {
  cleanUp,
  evaluate,
  inFile,
  leftovers,
  open,
  PACKAGE,
  sampleKey,
  script,
  sleep,
  start,
} from './helpers.ts';

afterEach(cleanUp);

describe.each([
  ['process.exit()', 'process.exit(3);', 3],
  ['process.exit() from a timer', 'setTimeout(() => process.exit(3), 1);', 3],
  ['an uncaught throw', `setTimeout(() => { throw new Error('uncaught'); }, 0);`, 1],
  ['an unhandled rejection', `void Promise.reject(new Error('unhandled'));`, 1],
  ['an error of the function', `throw new Error('rejected');`, 1],
  ['its natural end', '', 0],
])('a process that comes to %s inside withLock', (_, end, status) => {
  it('leaves no lock, and the usage of inside and outside is in the file', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a')], { LOCK_TIMEOUT_MS: '0' });
    const code = `
      import { existsSync } from 'node:fs';
      const outside = new Promise(resolve =>
        setTimeout(() => resolve(void ledger.updateApiKeyUsage('a', 100, 'model')), 0),
      );
      void ledger.withLock(async () => {
        await ledger.updateApiKeyUsage('a', 1, 'model');
        await outside;
        console.log(existsSync(process.env.DATA_FILE + '.lock'));
        void ledger.updateApiKeyUsage('a', 10, 'model');
        ${end}
        await new Promise(() => {});
      });
    `;
    const ended = await script(code, { DATA_FILE: file }).ended;
    expect(ended).toMatchObject({ code: status, stdout: 'true\n' });
    expect(existsSync(`${file}.lock`)).toBe(false);
    expect(leftovers(file)).toEqual([]);
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(111);
    await updateApiKeyUsage('a', 1000, 'model');
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(1111);
  });

  it('leaves no lock when nothing was recorded', async () => {
    const { file } = await open([sampleKey('a')]);
    const code = `
      void ledger.withLock(async () => {
        ${end}
        await new Promise(() => {});
      });
    `;
    expect((await script(code, { DATA_FILE: file }).ended).code).toBe(status);
    expect(leftovers(file)).toEqual([]);
  });
});

const ends = [
  ['process.exit()', 'process.exit(3);', 3],
  ['an uncaught throw', `throw new Error('uncaught');`, 1],
  ['its natural end', '', 0],
] as const;

describe('an exit while others keep the lock', () => {
  const TIMEOUT_MS = 500;

  /** How long the exit takes with this many batches, and what it logs. */
  async function exit(batches: number) {
    const { file } = await open([sampleKey('a')]);
    mkdirSync(`${file}.lock`);
    const code = `
      process.on('exit', () => console.log('took', performance.now() - start));
      for (let n = 0; n < ${batches}; n++) {
        void ledger.updateApiKeyUsage('a', 1, 'model');
        // What is recorded after this is another batch.
        void ledger.withLock(async () => {});
      }
      const start = performance.now();
      process.exit(0);
    `;
    const env = { DATA_FILE: file, LOCK_TIMEOUT_MS: String(TIMEOUT_MS) };
    const { code: status, stdout } = await script(code, env).ended;
    expect(status).toBe(0);
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(0);
    expect(existsSync(`${file}.lock`)).toBe(true);
    expect(stdout.match(/^\[cache\] commit failed at exit .*ELOCKED/gm)?.length).toBe(batches);
    return Number(/^took (.*)$/m.exec(stdout)?.[1]);
  }

  it('waits for it about LOCK_TIMEOUT_MS, however many batches there are', async () => {
    const [one, three] = [await exit(1), await exit(3)];
    expect(one).toBeGreaterThanOrEqual(TIMEOUT_MS * 0.9);
    expect(three / one).toBeLessThan(1.7);
  }, 20000);

  it.each(ends.slice(0, 2))(
    '%s says what was lost, and to whom the lock belongs',
    async (_, end) => {
      const { withLock, file } = await open([sampleKey('sk-abcdefgh-secret')]);
      const code = `
      for (let n = 0; n < 37; n++) void ledger.updateApiKeyUsage('sk-abcdefgh-secret', 5, 'model');
      ${end}
    `;
      const env = { DATA_FILE: file, LOCK_TIMEOUT_MS: '200' };
      const ended = await withLock(() => script(code, env).ended);
      expect(ended.stdout).toMatch(/^\[cache\] .*ELOCKED.*another keyledger/m);
      expect(ended.stdout).toMatch(/^\[cache\] .*\b(37|185)\b/m);
      expect(ended.stdout).not.toContain('secret');
      expect(inFile(file, 'sk-abcdefgh-secret').total_lifetime_tokens).toBe(0);
    },
  );
});

describe('an exit with hundreds of updates pending', () => {
  const keys = Array.from({ length: 300 }, (_, n) => `key-${n}`);

  it.each([
    ['process.exit()', 'process.exit(3);', 3],
    ['an uncaught throw', `throw new Error('uncaught');`, 1],
    ['its natural end', 'process.exitCode = 7;', 7],
  ])('by %s leaves all of them in the file', async (_, end, status) => {
    const { file } = await open(keys.map(key => sampleKey(key)));
    const code = `
      const keys = ${JSON.stringify(keys)};
      for (let n = 0; n < 900; n++) {
        void ledger.updateApiKeyUsage(keys[n % 300], 1, 'model');
        // What is recorded after this is another batch.
        if (n % 90 === 89) void ledger.withLock(async () => {});
      }
      ${end}
    `;
    expect((await script(code, { DATA_FILE: file }).ended).code).toBe(status);
    const totals = keys.map(key => inFile(file, key).total_lifetime_tokens);
    expect(totals).toEqual(keys.map(() => 3));
    expect(leftovers(file)).toEqual([]);
  });

  it('for two data files leaves all of them in both', async () => {
    const files = [(await open([sampleKey('a')])).file, (await open([sampleKey('a')])).file];
    const code = `
      for (const [n, file] of ${JSON.stringify(files)}.entries()) {
        process.env.DATA_FILE = file;
        const { updateApiKeyUsage } = await import('${new URL(PACKAGE).pathname}?' + n);
        for (let n = 0; n < 100; n++) void updateApiKeyUsage('a', 1, 'model');
      }
      process.exit(0);
    `;
    expect((await script(code, { DATA_FILE: files[0] }).ended).code).toBe(0);
    for (const file of files) expect(inFile(file, 'a').total_lifetime_tokens).toBe(100);
  });

  describe.each([
    ['throws', `throw new Error('theirs');`, undefined],
    ['exits', 'process.exit(4);', 4],
  ])('when another exit listener, which was there first, %s', (_, listener, status) => {
    it.each(ends)('by %s leaves all of them in the file', async (_, end) => {
      const { file } = await open([sampleKey('a')]);
      const code = `
        process.on('exit', () => { ${listener} });
        const ledger = await import(${JSON.stringify(PACKAGE)});
        for (let n = 0; n < 100; n++) {
          void ledger.updateApiKeyUsage('a', 1, 'model');
          if (n % 10 === 9) void ledger.withLock(async () => {});
        }
        ${end}
      `;
      const ended = await start(process.execPath, evaluate(code), { DATA_FILE: file }).ended;
      if (status !== undefined) expect(ended.code).toBe(status);
      expect(inFile(file, 'a').total_lifetime_tokens).toBe(100);
      expect(leftovers(file)).toEqual([]);
    });
  });
});

describe.each(ends)('a process that comes to %s while others have the lock', (_, end, status) => {
  it('waits for a program that locks by directory, and leaves all usage in the file', async () => {
    const { file } = await open([sampleKey('a')]);
    mkdirSync(`${file}.lock`);
    const code = `
      void ledger.updateApiKeyUsage('a', 5, 'model');
      console.log('ending');
      ${end}
    `;
    const child = script(code, { DATA_FILE: file });
    await child.prints('ending');
    await sleep(300);
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(0);
    rmdirSync(`${file}.lock`);
    expect(await child.ended).toMatchObject({ code: status, stdout: 'ending\n' });
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
    expect(leftovers(file)).toEqual([]);
  });

  it('waits for another process of ours, and leaves all usage in the file', async () => {
    const { withLock, file } = await open([sampleKey('a')]);
    const code = `
      void ledger.updateApiKeyUsage('a', 5, 'model');
      console.log('ending');
      ${end}
    `;
    const child = await withLock(async () => {
      const started = script(code, { DATA_FILE: file });
      await started.prints('ending');
      await sleep(300);
      expect(inFile(file, 'a').total_lifetime_tokens).toBe(0);
      return started;
    });
    expect(await child.ended).toMatchObject({ code: status, stdout: 'ending\n' });
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
    expect(leftovers(file)).toEqual([]);
  });

  it('and waits for it in withLock, leaves no lock once it is free', async () => {
    const { updateApiKeyUsage, file } = await open([sampleKey('a')], { LOCK_TIMEOUT_MS: '2000' });
    mkdirSync(`${file}.lock`);
    const code = `
      void ledger.withLock(async () => {});
      await new Promise(resolve => setTimeout(resolve, 50));
      console.log('ending');
      ${end}
    `;
    const child = script(code, { DATA_FILE: file, LOCK_TIMEOUT_MS: '1000' });
    await child.prints('ending');
    rmdirSync(`${file}.lock`);
    expect((await child.ended).code).toBe(status);
    await updateApiKeyUsage('a', 5, 'model');
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
    expect(leftovers(file)).toEqual([]);
  });
});

describe.each([0, 1000])(
  'usage that is recorded in exit listeners, with %i calls pending',
  pending => {
    it('is in the file, all of it', async () => {
      const { file } = await open([sampleKey('a')]);
      const code = `
      process.on('exit', () => {
        void ledger.updateApiKeyUsage('a', 10_000, 'model');
        void ledger.updateApiKeyUsage('a', 100_000, 'model');
      });
      await ledger.updateApiKeyUsage('a', 1, 'model');
      for (let n = 0; n < ${pending}; n++) void ledger.updateApiKeyUsage('a', 1, 'model');
      process.exit(3);
    `;
      expect((await script(code, { DATA_FILE: file }).ended).code).toBe(3);
      expect(inFile(file, 'a').total_lifetime_tokens).toBe(110_001 + pending);
      expect(leftovers(file)).toEqual([]);
    });
  },
);

describe('an exit while one instance of the module has the lock', () => {
  it('leaves the usage that was recorded by another in the file, without waiting', async () => {
    const { file } = await open([sampleKey('a')]);
    const code = `
      const other = await import(${JSON.stringify(`${PACKAGE}?other`)});
      void ledger.updateApiKeyUsage('a', 1, 'model');
      await ledger.flush();
      await new Promise(entered => void other.withLock(() => new Promise(entered)));
      void ledger.updateApiKeyUsage('a', 5, 'model');
      await new Promise(resolve => setTimeout(resolve, 50));
      process.exit(3);
    `;
    const {
      stdout,
      stderr,
      code: status,
    } = await script(code, {
      DATA_FILE: file,
      LOCK_TIMEOUT_MS: '1000',
    }).ended;
    expect({ stdout, stderr, status }).toEqual({ stdout: '', stderr: '', status: 3 });
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(6);
    expect(leftovers(file)).toEqual([]);
  });

  it.each(Array.from({ length: 8 }, (_, n) => n * 20))(
    'that it is just taking, leaves none (%i µs later)',
    async microseconds => {
      const { file } = await open([sampleKey('a')]);
      const code = `
        await ledger.readApiKeys();
        setTimeout(() => {
          void ledger.withLock(async () => {});
          const end = performance.now() + ${microseconds} / 1000;
          void Promise.resolve().then(() => {
            while (performance.now() < end);
            process.exit(0);
          });
        }, 1);
      `;
      expect((await script(code, { DATA_FILE: file }).ended).code).toBe(0);
      expect(leftovers(file)).toEqual([]);
    },
  );
});
