import type { MiddlewareHandler } from 'hono';
import { errorResponse } from './errors.ts';
import { secondsUntilWithinQuota } from './quota.ts';
import { type ApiKey, findApiKey } from './storage.ts';

/** What the middleware leaves for the handlers behind it. */
export interface AuthEnv {
  Variables: { record: ApiKey };
}

function presentedKey(authorization: string | undefined, apiKey: string | undefined) {
  const bearer = /^Bearer\s+(\S+)\s*$/i.exec(authorization ?? '');
  return bearer?.[1] ?? apiKey;
}

/** Lets known keys that have not expired through: 401 and 403 for the others. */
export const requireKey: MiddlewareHandler<AuthEnv> = async (c, next) => {
  const key = presentedKey(c.req.header('authorization'), c.req.header('x-api-key'));
  if (!key) {
    return errorResponse(
      c.req.path,
      401,
      'No API key. Send it as "Authorization: Bearer KEY" or as "x-api-key: KEY".',
    );
  }
  const record = await findApiKey(key);
  if (!record) return errorResponse(c.req.path, 401, 'Unknown API key.');
  // Negated so that a date nobody can read counts as expired.
  if (!(Date.parse(record.expiry_date) > Date.now())) {
    return errorResponse(c.req.path, 403, `This API key expired on ${record.expiry_date}.`);
  }
  c.set('record', record);
  await next();
};

/** Lets keys within their quota through: 429 with `Retry-After` for the others. Stands behind {@link requireKey}. */
export const requireQuota: MiddlewareHandler<AuthEnv> = async (c, next) => {
  const record = c.get('record');
  const wait = secondsUntilWithinQuota(record, Date.now());
  if (wait > 0) {
    return errorResponse(
      c.req.path,
      429,
      `The quota of ${record.token_limit_per_5h} tokens in 5 hours is used up. Try again in ${wait} s.`,
      { 'retry-after': String(wait) },
    );
  }
  await next();
};
