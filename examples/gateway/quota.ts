import type { ApiKey } from './storage.ts';

const WINDOW_MS = 5 * 60 * 60 * 1000;

interface LiveWindow {
  start: number;
  tokens: number;
}

/** What a key has used in the last five hours. Times are ISO 8601, `null` when nothing was used. */
export interface CurrentWindow {
  used: number;
  started: string | null;
  ends: string | null;
  remaining: number;
}

/** The windows younger than five hours, the oldest first. */
function liveWindows(record: ApiKey, now: number): LiveWindow[] {
  return (record.usage_windows ?? [])
    .map(window => ({
      start: Date.parse(window.window_start),
      tokens: Number.isFinite(window.tokens_used) ? window.tokens_used : 0,
    }))
    .filter(window => now - window.start < WINDOW_MS)
    .sort((a, b) => a.start - b.start);
}

function total(windows: LiveWindow[]): number {
  return windows.reduce((sum, window) => sum + window.tokens, 0);
}

export function currentWindow(record: ApiKey, now: number): CurrentWindow {
  const windows = liveWindows(record, now);
  const used = total(windows);
  const oldest = windows[0];
  return {
    used,
    started: oldest ? new Date(oldest.start).toISOString() : null,
    ends: oldest ? new Date(oldest.start + WINDOW_MS).toISOString() : null,
    remaining: Math.max(0, record.token_limit_per_5h - used),
  };
}

/**
 * Seconds until enough of the oldest windows have ended for the key to be within its quota again; 0 when it is within
 * it now. A limit that no wait can meet (0 or less) gives five hours.
 */
export function secondsUntilWithinQuota(record: ApiKey, now: number): number {
  const windows = liveWindows(record, now);
  const limit = record.token_limit_per_5h;
  let used = total(windows);
  if (used < limit) return 0;
  for (const window of windows) {
    used -= window.tokens;
    if (used < limit) return Math.max(1, Math.ceil((window.start + WINDOW_MS - now) / 1000));
  }
  return WINDOW_MS / 1000;
}
