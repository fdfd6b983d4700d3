import { Hono } from 'hono';
import { type AuthEnv, requireKey, requireQuota } from './auth.ts';
import { errorResponse } from './errors.ts';
import { forward, type Upstream } from './proxy.ts';
import { currentWindow } from './quota.ts';
import { cacheStats } from './storage.ts';

export function createApp(upstream: Upstream): Hono<AuthEnv> {
  const app = new Hono<AuthEnv>();

  app.get('/health', c => c.json({ status: 'ok' }));
  app.get('/cache-stats', async c => c.json(await cacheStats()));
  app.get('/stats', requireKey, c => {
    const record = c.get('record');
    return c.json({
      key: record.key,
      model: record.model ?? null,
      limit: record.token_limit_per_5h,
      expiry: record.expiry_date,
      current_window: currentWindow(record, Date.now()),
    });
  });

  app.post('/v1/chat/completions', requireKey, requireQuota, c => forward(c, upstream));
  app.post('/v1/messages', requireKey, requireQuota, c => forward(c, upstream));
  app.all('/v1/*', requireKey, requireQuota, c => forward(c, upstream));

  app.notFound(c => errorResponse(c.req.path, 404, `There is no ${c.req.method} ${c.req.path}.`));
  app.onError((error, c) => {
    if (!c.req.raw.signal.aborted) console.error(`${c.req.method} ${c.req.path} failed:`, error);
    return errorResponse(c.req.path, 500, 'The gateway could not answer this request.');
  });
  return app;
}
