// The module that keyledger replaces, as its contract describes it, faults included: the oracle of the tests and the
// rival of the benchmarks. Do not mend it.
import { mkdirSync } from 'node:fs';
import { mkdir, readFile, rename, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { apiKeyCache, type CacheStats, cacheEnabled, log } from './cache.ts';

export { apiKeyCache, type CacheStats, type LRUCache, LRUCacheImpl } from './cache.ts';

export interface UsageWindow {
  window_start: string;
  tokens_used: number;
}

export interface ApiKey {
  key: string;
  name: string;
  model?: string;
  token_limit_per_5h: number;
  expiry_date: string;
  created_at: string;
  last_used: string;
  total_lifetime_tokens: number;
  usage_windows: UsageWindow[];
}

export interface ApiKeysData {
  keys: ApiKey[];
}

const DATA_FILE = process.env.DATA_FILE || join(process.cwd(), 'data', 'apikeys.json');
const LOCK_DIR = `${DATA_FILE}.lock`;
const LOCK_TRIES = 10;
const LOCK_WAIT_MS = 50;
const WINDOW_MS = 5 * 60 * 60 * 1000;

mkdirSync(dirname(DATA_FILE), { recursive: true });

async function acquireLock(): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await mkdir(LOCK_DIR);
      return;
    } catch (error) {
      if (attempt === LOCK_TRIES) throw error;
      await sleep(LOCK_WAIT_MS);
    }
  }
}

async function releaseLock(): Promise<void> {
  try {
    await rmdir(LOCK_DIR);
  } catch {
    // Somebody else removed it.
  }
}

export async function withLock<T>(fn: () => Promise<T>): Promise<T> {
  await acquireLock();
  try {
    return await fn();
  } finally {
    await releaseLock();
  }
}

export async function readApiKeys(): Promise<ApiKeysData> {
  try {
    return JSON.parse(await readFile(DATA_FILE, 'utf8'));
  } catch {
    return { keys: [] };
  }
}

export async function writeApiKeys(data: ApiKeysData): Promise<void> {
  const temp = `${DATA_FILE}.tmp`;
  await writeFile(temp, JSON.stringify(data, null, 2));
  await rename(temp, DATA_FILE);
}

async function readKey(key: string): Promise<ApiKey | null> {
  const data = await readApiKeys();
  return data.keys.find(candidate => candidate.key === key) ?? null;
}

export async function findApiKey(key: string): Promise<ApiKey | null> {
  if (!cacheEnabled()) return withLock(() => readKey(key));

  // `has` first, since a cached `null` is an answer. That is why a miss here never counts.
  if (apiKeyCache.has(key)) {
    log('debug', 'hit', key);
    return apiKeyCache.get(key);
  }
  log('debug', 'miss', key);
  return withLock(async () => {
    const apiKey = await readKey(key);
    apiKeyCache.set(key, apiKey);
    log('debug', 'fill', key, { found: apiKey !== null });
    return apiKey;
  });
}

export async function getKeyStats(key: string): Promise<ApiKey | null> {
  return findApiKey(key);
}

export async function updateApiKeyUsage(
  key: string,
  tokensUsed: number,
  model: string,
): Promise<void> {
  const called = Date.now();
  const now = new Date(called).toISOString();
  const cutoff = new Date(called - WINDOW_MS).toISOString();

  await withLock(async () => {
    const data = await readApiKeys();
    const apiKey = data.keys.find(candidate => candidate.key === key);
    if (!apiKey) return;

    apiKey.last_used = now;
    apiKey.total_lifetime_tokens = (apiKey.total_lifetime_tokens ?? 0) + tokensUsed;
    apiKey.usage_windows ??= [];
    const current = apiKey.usage_windows.find(window => window.window_start >= cutoff);
    if (current) {
      current.tokens_used += tokensUsed;
    } else {
      apiKey.usage_windows.push({ window_start: now, tokens_used: tokensUsed });
    }
    apiKey.usage_windows = apiKey.usage_windows.filter(window => !(window.window_start < cutoff));

    await writeApiKeys(data);
    if (cacheEnabled()) apiKeyCache.set(key, apiKey);
    log('info', 'update', key, { model, tokens: tokensUsed });
  });
}

export async function cacheStats(): Promise<CacheStats & { enabled: boolean }> {
  return { ...apiKeyCache.getStats(), enabled: cacheEnabled() };
}

export async function warmupCache(): Promise<void> {
  try {
    const { keys } = await readApiKeys();
    const seen = new Set<string>();
    for (const apiKey of keys) {
      if (seen.size === apiKeyCache.maxSize) break;
      if (seen.has(apiKey.key)) continue;
      seen.add(apiKey.key);
      apiKeyCache.set(apiKey.key, apiKey);
    }
    log('info', 'warm-up done', undefined, { keys: seen.size });
  } catch (error) {
    console.error('[cache] warm-up failed', error);
  }
}
