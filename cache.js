// The cache by itself, the same that the store uses.
export { apiKeyCache, LRUCacheImpl } from './index.js';
