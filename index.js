// The store's functions over the data file that the environment names. Settings are read here, when the module is
// evaluated.
import process from 'node:process';
import { openLedger } from './lib/ledger.js';
import { readSettings } from './lib/settings.js';

export { LRUCacheImpl } from './lib/cache.js';

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
} = openLedger(readSettings(process.env));
