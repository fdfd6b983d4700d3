// What an update does to a record, for the stores that leave that to their caller: the arithmetic of the contract.
import type { ApiKey } from '../../index.js';

const WINDOW_MS = 5 * 60 * 60 * 1000;

export function add(record: ApiKey, tokensUsed: number, called: number): ApiKey {
  const now = new Date(called).toISOString();
  const cutoff = new Date(called - WINDOW_MS).toISOString();
  record.last_used = now;
  record.total_lifetime_tokens = (record.total_lifetime_tokens ?? 0) + tokensUsed;
  record.usage_windows ??= [];
  const current = record.usage_windows.find(window => window.window_start >= cutoff);
  if (current) current.tokens_used += tokensUsed;
  else record.usage_windows.push({ window_start: now, tokens_used: tokensUsed });
  record.usage_windows = record.usage_windows.filter(window => !(window.window_start < cutoff));
  return record;
}
