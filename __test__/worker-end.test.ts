/** the contract: 'Recording usage' and `withLock`, when a worker thread ends. */
import { mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Ledger as Native } from '../lib/native.js';
import {
  type Child,
  captureLog,
  cleanUp,
  type Env,
  inFile,
  leftovers,
  open,
  PACKAGE,
  rejection,
  sampleKey,
  script,
  sleep,
  tempFolder,
} from './helpers.ts';

afterEach(cleanUp);

const total = (file: string, key = 'a') => inFile(file, key).total_lifetime_tokens;

/**
 * A process whose main thread starts a worker, and says with which code it ends. Then it adds 1000 to the key `a`.
 *
 * @param make an expression for a worker, by its `url`
 * @param code what the worker runs; `ledger` and `say` are in its scope
 * @param main what the main thread does once the worker has said something; `worker` is in its scope
 */
function worker(make: string, code: string, file: string, main = '', env: Env = {}): Child {
  const path = join(tempFolder(), 'worker.mjs');
  writeFileSync(
    path,
    `import { writeSync } from 'node:fs';
     import { parentPort } from 'node:worker_threads';
     import * as ledger from ${JSON.stringify(PACKAGE)};
     const say = message => (parentPort ?? self).postMessage(message);
     ${code}`,
  );
  return script(
    `import { Worker as NodeWorker } from 'node:worker_threads';
     const url = new URL(${JSON.stringify(pathToFileURL(path))});
     const worker = ${make};
     const on = (name, listener) => (worker.on ?? worker.addEventListener).call(worker, name, listener);
     on('error', () => {});
     const ended = new Promise(resolve => on(worker.on ? 'exit' : 'close', event => resolve(event.code ?? event)));
     on('message', async () => {
       ${main}
     });
     console.log('the worker ended with', await ended);
     await ledger.updateApiKeyUsage('a', 1000, 'model');
     console.log('and the process went on');`,
    { DATA_FILE: file, ...env },
  );
}

const bun = process.versions.bun !== undefined;
const kinds = [
  { name: 'a worker', make: 'new NodeWorker(url, { execArgv: [] })', skip: false },
  {
    name: `a worker of Bun's own${bun ? '' : ' (skipped: this is not Bun)'}`,
    make: 'new Worker(url)',
    skip: !bun,
  },
];
/** How a worker ends, and with which code. On Bun that of an unhandled rejection may be 0. */
const ends: [string, string, string][] = [
  ['its natural end', '', '0'],
  ['process.exit()', 'process.exit();', '0'],
  ['process.exit(3)', 'process.exit(3);', '3'],
  ['an uncaught throw', `throw new Error('uncaught');`, '[01]'],
  ['an uncaught throw from a timer', `setTimeout(() => { throw new Error('late'); }, 1);`, '1'],
  ['an unhandled rejection', `void Promise.reject(new Error('unhandled'));`, '[01]'],
];

for (const { name, make, skip } of kinds)
  describe.skipIf(skip).each(ends)(`${name} that comes to %s`, (_, end, status) => {
    /** Waits until both have ended, and finds what the main thread adds. */
    async function well(child: Child, file: string) {
      const { stdout, code } = await child.ended;
      expect(stdout).toMatch(
        new RegExp(`the worker ended with ${status}\nand the process went on\n$`),
      );
      expect(code).toBe(0);
      expect(leftovers(file)).toEqual([]);
    }

    it('right after hundreds of updates that nobody waits for leaves all usage in the file', async () => {
      const keys = ['a', ...Array.from({ length: 19 }, (_, n) => `key-${n}`)];
      const { file } = await open(keys.map(key => sampleKey(key)));
      const code = `
        const keys = ${JSON.stringify(keys)};
        for (let n = 0; n < 500; n++) {
          void ledger.updateApiKeyUsage(keys[n % 20], 1, 'model');
          // What is recorded after this is another batch.
          if (n % 100 === 99) void ledger.withLock(async () => {});
        }
        ${end}`;
      await well(worker(make, code, file), file);
      expect(keys.map(key => total(file, key))).toEqual(keys.map((_, n) => (n ? 25 : 1025)));
    });

    it('while a commit is under way leaves all usage in the file, once', async () => {
      const { file } = await open([sampleKey('a')]);
      const code = `
        void ledger.updateApiKeyUsage('a', 1, 'model');
        await new Promise(resolve => setImmediate(resolve));
        void ledger.updateApiKeyUsage('a', 10, 'model');
        ${end}`;
      await well(worker(make, code, file), file);
      expect(total(file)).toBe(1011);
    });

    it('inside withLock leaves all usage in the file, and no lock', async () => {
      const { file } = await open([sampleKey('a')]);
      const code = `
        void ledger.withLock(async () => {
          await ledger.updateApiKeyUsage('a', 1, 'model');
          void ledger.updateApiKeyUsage('a', 10, 'model');
          ${end}
          await new Promise(() => {});
        });
        void ledger.updateApiKeyUsage('a', 100, 'model');`;
      await well(worker(make, code, file, '', { LOCK_TIMEOUT_MS: '2000' }), file);
      expect(total(file)).toBe(1111);
    });

    it('while another program has the lock waits for it', async () => {
      const { file } = await open([sampleKey('a')]);
      mkdirSync(`${file}.lock`);
      const code = `
        void ledger.updateApiKeyUsage('a', 5, 'model');
        writeSync(1, 'ending\\n');
        ${end}`;
      const child = worker(make, code, file);
      await child.prints('ending');
      await sleep(200);
      expect(total(file)).toBe(0);
      rmdirSync(`${file}.lock`);
      await well(child, file);
      expect(total(file)).toBe(1005);
    });
  });

for (const { name, make, skip } of kinds)
  describe.skipIf(skip)(`${name} that is terminated`, () => {
    const TERMINATE = `
    await new Promise(resolve => setTimeout(resolve, 20));
    console.log('terminated');
    worker.terminate();
  `;

    /** Ends well, and the next who writes finds no lock. */
    async function harmless(child: Child, file: string) {
      const { stdout, stderr, code } = await child.ended;
      expect(stdout).toMatch(/^terminated\nthe worker ended with \d+\nand the process went on\n$/);
      expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
      expect(leftovers(file)).toEqual([]);
    }

    it('inside withLock harms nobody', async () => {
      const { file } = await open([sampleKey('a')]);
      const code = `
      await ledger.withLock(async () => {
        say('held');
        await new Promise(() => setInterval(() => {}, 1000));
      });`;
      await harmless(worker(make, code, file, TERMINATE, { LOCK_TIMEOUT_MS: '2000' }), file);
      expect(total(file)).toBe(1000);
    });

    it.each(Array.from({ length: 5 }, (_, n) => n))(
      'while it records harms nobody (%i)',
      async () => {
        const { file } = await open([sampleKey('a'), sampleKey('b')]);
        const code = `
        const record = () => {
          for (let n = 0; n < 10; n++) {
            void ledger.updateApiKeyUsage('a', 1, 'model');
            void ledger.updateApiKeyUsage('b', 1, 'model');
          }
          setImmediate(record);
        };
        record();
        say('recording');`;
        await harmless(worker(make, code, file, TERMINATE, { LOCK_TIMEOUT_MS: '2000' }), file);
        // It may have been stopped between the two calls.
        expect([1000, 1001]).toContain(total(file) - total(file, 'b'));
      },
    );

    it('while it waits for the lock harms nobody', async () => {
      const { file } = await open([sampleKey('a')]);
      mkdirSync(`${file}.lock`);
      const code = `
      void ledger.updateApiKeyUsage('a', 5, 'model');
      void ledger.withLock(async () => {});
      say('waiting');`;
      const child = worker(make, code, file, TERMINATE);
      await child.prints('terminated');
      await sleep(100);
      rmdirSync(`${file}.lock`);
      const { stdout, stderr, code: status } = await child.ended;
      expect(stdout).toContain('and the process went on\n');
      expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
      // The commit that was under way may have found the lock.
      expect([1000, 1005]).toContain(total(file));
      expect(leftovers(file)).toEqual([]);
    });

    it('by the end of the process has its pending usage in the file', async () => {
      const { file } = await open([sampleKey('a')]);
      mkdirSync(`${file}.lock`);
      const code = `
      const record = () => { for (let n = 0; n < 100; n++) void ledger.updateApiKeyUsage('a', 1, 'model'); };
      record();
      // The first batch waits for the lock by then, and another opens behind it.
      setTimeout(() => { record(); setTimeout(() => say('recorded'), 20); }, 50);`;
      const child = worker(make, code, file, `console.log('exiting'); process.exit(3);`);
      await child.prints('exiting');
      await sleep(200);
      rmdirSync(`${file}.lock`);
      const { stdout, stderr, code: status } = await child.ended;
      expect({ stdout, stderr, status }).toEqual({ stdout: 'exiting\n', stderr: '', status: 3 });
      expect(total(file)).toBe(200);
      expect(leftovers(file)).toEqual([]);
    });

    it('by the end of the process, while it records, harms nobody', async () => {
      const { updateApiKeyUsage, file } = await open([sampleKey('a'), sampleKey('b')], {
        LOCK_TIMEOUT_MS: '2000',
      });
      const code = `
      const record = () => {
        void ledger.updateApiKeyUsage('a', 1, 'model');
        void ledger.updateApiKeyUsage('b', 1, 'model');
        setImmediate(record);
      };
      record();
      setTimeout(() => say('recording'), 20);`;
      const main = `void ledger.updateApiKeyUsage('a', 1000, 'model'); process.exit(0);`;
      const { stdout, stderr, code: status } = await worker(make, code, file, main).ended;
      expect({ stdout, stderr, status }).toEqual({ stdout: '', stderr: '', status: 0 });
      expect([1000, 1001]).toContain(total(file) - total(file, 'b'));
      await updateApiKeyUsage('a', 1, 'model');
      expect(leftovers(file)).toEqual([]);
    });
  });

// In a worker that is being terminated JavaScript still runs for a moment, while Node-API does nothing any more.
describe('a native call that was not made', () => {
  it.each(['load', 'commit', 'replace', 'acquire'] as const)('counts as failed: %s', async name => {
    const { readApiKeys, updateApiKeyUsage, writeApiKeys, withLock } = await open([]);
    vi.spyOn(Native.prototype, name).mockReturnValue(undefined as never);
    let called = false;
    const calls = {
      load: readApiKeys,
      commit: () => updateApiKeyUsage('a', 1, 'model'),
      replace: () => writeApiKeys({ keys: [] }),
      acquire: () =>
        withLock(async () => {
          called = true;
        }),
    };
    captureLog();
    const { message } = await rejection(calls[name]());
    expect(message).toBe('this thread is being terminated');
    expect(called).toBe(false);
  });
});
