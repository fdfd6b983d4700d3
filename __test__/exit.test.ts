/** the contract: 'Recording usage' and `withLock`, when the process ends while the lock is held, by it or by others. */
import { existsSync, mkdirSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, inFile, leftovers, open, sampleKey, script } from './helpers.ts';

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

describe('an exit while another program holds the lock directory', () => {
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
});
