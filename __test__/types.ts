/** the contract: the signatures of 'Exports', checked by tsc; nothing here runs. */
import type {
  ApiKey,
  ApiKeysData,
  CacheStats,
  LRUCache,
  LRUCacheImpl as LRUCacheImplType,
  UsageWindow,
} from '../index.js';
import * as ledger from '../index.js';

type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

function holds<_T extends true>(): void {}

interface ExpectedWindow {
  window_start: string;
  tokens_used: number;
}

interface ExpectedKey {
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

holds<
  Same<
    { [K in keyof UsageWindow]: UsageWindow[K] },
    { [K in keyof ExpectedWindow]: ExpectedWindow[K] }
  >
>();
holds<Same<{ [K in keyof ApiKey]: ApiKey[K] }, { [K in keyof ExpectedKey]: ExpectedKey[K] }>>();
holds<Same<ApiKeysData['keys'], ApiKey[]>>();
holds<
  Same<
    { [K in keyof CacheStats]: CacheStats[K] },
    Record<'hits' | 'misses' | 'hitRate' | 'size' | 'maxSize', number>
  >
>();

holds<Same<typeof ledger.findApiKey, (key: string) => Promise<ApiKey | null>>>();
holds<Same<typeof ledger.getKeyStats, (key: string) => Promise<ApiKey | null>>>();
holds<
  Same<
    typeof ledger.updateApiKeyUsage,
    (key: string, tokensUsed: number, model: string) => Promise<void>
  >
>();
holds<Same<typeof ledger.cacheStats, () => Promise<CacheStats & { enabled: boolean }>>>();
holds<Same<typeof ledger.readApiKeys, () => Promise<ApiKeysData>>>();
holds<Same<typeof ledger.writeApiKeys, (data: ApiKeysData) => Promise<void>>>();
holds<Same<typeof ledger.withLock, <T>(fn: () => Promise<T>) => Promise<T>>>();
holds<Same<typeof ledger.warmupCache, () => Promise<void>>>();
holds<Same<typeof ledger.flush, () => Promise<void>>>();
holds<Same<typeof ledger.clearCache, () => void>>();

const cache: LRUCache<ApiKey | null> = ledger.apiKeyCache;
holds<Same<typeof ledger.apiKeyCache, LRUCache<ApiKey | null>>>();
export const answers: [ApiKey | null, boolean, number, number, CacheStats] = [
  cache.get('key'),
  cache.has('key'),
  cache.size,
  cache.maxSize,
  cache.getStats(),
];
cache.set('key', null);
cache.set('key', null, 1000);
cache.delete('key');
cache.clear();
cache.resetStats();

export const caches: LRUCacheImplType<Date>[] = [
  new ledger.LRUCacheImpl<Date>(),
  new ledger.LRUCacheImpl<Date>(10),
  new ledger.LRUCacheImpl<Date>(10, 1000),
];
export const date: Date | null | undefined = caches[0]?.get('key');

// @ts-expect-error a key is a string
void ledger.findApiKey(5);
// @ts-expect-error the tokens are a number
void ledger.updateApiKeyUsage('key', '5', 'model');
// @ts-expect-error fn answers with a promise
void ledger.withLock(() => 5);
// @ts-expect-error the size can't be set
cache.size = 5;
