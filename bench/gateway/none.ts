// A storage that does nothing: with it a gateway is as fast as it can be.
import type { ApiKey } from '../../index.js';

const record: Promise<ApiKey> = Promise.resolve({
  key: 'sk-any',
  name: 'anybody',
  model: 'glm-4.7',
  token_limit_per_5h: 1_000_000,
  expiry_date: '2099-12-31T23:59:59.000Z',
  created_at: '2026-01-01T00:00:00.000Z',
  last_used: '2026-01-01T00:00:00.000Z',
  total_lifetime_tokens: 0,
  usage_windows: [{ window_start: '2026-01-01T00:00:00.000Z', tokens_used: 0 }],
});
const done = Promise.resolve();
const stats = { hits: 0, misses: 0, hitRate: 0, size: 0, maxSize: 0, enabled: false };

export const findApiKey = () => record;
export const updateApiKeyUsage = () => done;
export const cacheStats = async () => stats;
