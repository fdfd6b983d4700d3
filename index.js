// The store's functions over the data file that the environment names, and over others. The environment's settings are
// read here, when the module is evaluated.
import process from 'node:process';
import { openLedger } from './lib/ledger.js';
import { checkOptions, readSettings } from './lib/settings.js';

export { LRUCacheImpl } from './lib/cache.js';

/** @param {import('./index.js').LedgerOptions} options */
export const createLedger = options => openLedger(checkOptions(options), false);

export const {
  findApiKey,
  getKeyStats,
  updateApiKeyUsage,
  cacheStats,
  readApiKeys,
  writeApiKeys,
  withLock,
  warmupCache,
  apiKeyCache,
  flush,
  clearCache,
} = openLedger(readSettings(process.env), true);
