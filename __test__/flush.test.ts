/** the contract: 'Recording usage', what is pending when the process ends; `flush` of 'Exports'. */
import { afterEach, describe, expect, it } from 'vitest';
import {
  captureLog,
  cleanUp,
  inFile,
  leftovers,
  open,
  rejection,
  sampleKey,
  save,
  script,
} from './helpers.ts';

afterEach(cleanUp);

describe('flush', () => {
  it('resolves once all pending usage is in the file', async () => {
    const { updateApiKeyUsage, flush, file } = await open([sampleKey('a'), sampleKey('b')]);
    for (let n = 0; n < 50; n += 1) {
      void updateApiKeyUsage('a', 1, 'model');
      void updateApiKeyUsage('b', 2, 'model');
      if (n === 20) await new Promise(resolve => setTimeout(resolve, 1));
    }
    await flush();
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(50);
    expect(inFile(file, 'b').total_lifetime_tokens).toBe(100);
  });

  it('resolves when nothing is pending', async () => {
    const { flush, updateApiKeyUsage } = await open([sampleKey('a')]);
    expect(await flush()).toBeUndefined();
    await updateApiKeyUsage('a', 1, 'model');
    expect(await flush()).toBeUndefined();
  });

  it('rejects with what the pending updates reject with', async () => {
    captureLog();
    const { updateApiKeyUsage, flush, file } = await open('{');
    const update = rejection(updateApiKeyUsage('a', 1, 'model'));
    const error = await rejection(flush());
    expect(error.code).toBe('EDATA');
    expect(await update).toBe(error);
    save(file, [sampleKey('a')]);
    expect(await flush()).toBeUndefined();
  });
});

const ends: [string, string, number][] = [
  ['its natural end', '', 0],
  ['process.exit(0)', 'process.exit(0);', 0],
  ['process.exit(1)', 'process.exit(1);', 1],
  ['an uncaught throw', `throw new Error('uncaught');`, 1],
  ['an unhandled rejection', `void Promise.reject(new Error('unhandled'));`, 1],
  ['an uncaught throw from a timer', `setTimeout(() => { throw new Error('late'); }, 0);`, 1],
  ['process.exit from a timer', 'setTimeout(() => process.exit(3), 1);', 3],
  [
    'process.exit in an exit handler of its own',
    `process.on('exit', () => process.exit(4)); process.exit(0);`,
    4,
  ],
];

describe.each(ends)('a process that comes to %s', (_, end, status) => {
  it('right after updates that nobody waits for leaves all usage in the file', async () => {
    const { file } = await open([sampleKey('a'), sampleKey('b')]);
    const code = `
      for (let n = 0; n < 100; n++) {
        void ledger.updateApiKeyUsage('a', 1, 'model');
        void ledger.updateApiKeyUsage('b', 2, 'model');
      }
      ${end}
    `;
    expect((await script(code, { DATA_FILE: file }).ended).code).toBe(status);
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(100);
    expect(inFile(file, 'b').total_lifetime_tokens).toBe(200);
    expect(leftovers(file)).toEqual([]);
  });

  it('while a commit is under way leaves all usage in the file, once', async () => {
    const { file } = await open([sampleKey('a')]);
    const code = `
      void ledger.updateApiKeyUsage('a', 1, 'model');
      await new Promise(resolve => setImmediate(resolve));
      void ledger.updateApiKeyUsage('a', 10, 'model');
      ${end}
    `;
    expect((await script(code, { DATA_FILE: file }).ended).code).toBe(status);
    expect(inFile(file, 'a').total_lifetime_tokens).toBe(11);
    expect(leftovers(file)).toEqual([]);
  });
});

describe('updates made by a process', () => {
  it.each(['', 'process.exit(0);'])(
    'in an exit handler of its own are in the file: %s',
    async end => {
      const { file } = await open([sampleKey('a')]);
      const code = `
      process.on('exit', () => { void ledger.updateApiKeyUsage('a', 5, 'model'); });
      ${end}
    `;
      await script(code, { DATA_FILE: file }).ended;
      expect(inFile(file, 'a').total_lifetime_tokens).toBe(5);
    },
  );

  it('that flushes on SIGTERM are in the file', async () => {
    const { file } = await open([sampleKey('a')]);
    const code = `
      let recorded = 0;
      process.on('SIGTERM', async () => {
        clearInterval(timer);
        await ledger.flush();
        console.log('recorded', recorded);
        process.exit(0);
      });
      const timer = setInterval(() => {
        for (let n = 0; n < 10; n++) void ledger.updateApiKeyUsage('a', 1, 'model');
        recorded += 10;
        if (recorded === 100) console.log('ready');
      }, 1);
    `;
    const child = script(code, { DATA_FILE: file });
    await child.prints('ready');
    child.kill('SIGTERM');
    const { code: status, stdout } = await child.ended;
    expect(status).toBe(0);
    expect(`recorded ${inFile(file, 'a').total_lifetime_tokens}`).toBe(
      stdout.trim().split('\n').at(-1) ?? '',
    );
  });

  it('do not keep it alive longer than they take, nor does loading the package', async () => {
    const { file } = await open([sampleKey('a')]);
    const { code } = await script(`await ledger.findApiKey('a');`, { DATA_FILE: file }).ended;
    expect(code).toBe(0);
  });
});
