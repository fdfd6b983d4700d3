/**
 * A worker of `workers-run.mjs`: uses the store in every way and comes to the end that it is told, or goes on until it is
 * terminated. What it calls, and what has resolved, it counts in memory that outlives it.
 */
import { setTimeout } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';

/** @type {import('./workers-run.mjs').Task} */
const { end, inside, uses, keys, updated, called, resolved } = workerData;

/** @param {import('./workers-run.mjs').Message} message */
const say = message => (parentPort ?? /** @type {any} */ (globalThis)).postMessage(message);

/** What a worker has that does not load keyledger. */
const standIn = () => ({
  findApiKey: async (/** @type {string} */ key) => ({ key }),
  updateApiKeyUsage: async () => {},
  withLock: async (/** @type {() => Promise<unknown>} */ fn) => fn(),
  readApiKeys: async () => ({ keys: [] }),
  apiKeyCache: new Map(),
  LRUCacheImpl: Map,
});

async function work() {
  /** @type {any} */
  const ledger = uses ? await import('../../index.js') : standIn();

  async function look() {
    const cache = new ledger.LRUCacheImpl();
    for (const key of [...keys, 'unknown']) {
      cache.set(key, await ledger.findApiKey(key));
      ledger.apiKeyCache.get(key);
    }
    ledger.apiKeyCache.set('own', { key: 'own' });
    ledger.apiKeyCache.delete('own');
    await ledger.readApiKeys();
  }

  const record = () =>
    Promise.all(
      updated.map(async (key, n) => {
        Atomics.add(called, n, 1);
        await ledger.updateApiKeyUsage(key, 1, 'model');
        Atomics.add(resolved, n, 1);
      }),
    );

  async function finish() {
    void record();
    if (end === 'process.exit()') process.exit();
    if (end === 'a throw')
      setImmediate(() => {
        throw new Error(`${end} on purpose`);
      });
    if (end.startsWith('terminate()'))
      for (;;) {
        await record();
        if (Math.random() < 0.5) await setTimeout(1);
      }
    if (inside) await new Promise(() => {});
  }

  await look();
  await record();
  await ledger.withLock(record);
  if (!inside) {
    say('begun');
    return finish();
  }
  return ledger.withLock(async () => {
    await record();
    say('begun');
    await finish();
  });
}

work().catch(error => {
  // What is recorded in the last moment is not, and says so.
  const expected = end.startsWith('terminate()') && /being terminated/.test(error.message);
  if (!expected) say({ fault: String(error) });
});
