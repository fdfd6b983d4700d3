import type { Context } from 'hono';
import type { AuthEnv } from './auth.ts';
import { type ForwardedBody, forwardedBody, InvalidBody } from './body.ts';
import { apiStyle, errorResponse } from './errors.ts';
import { clientHeaders, upstreamHeaders } from './headers.ts';
import { beginRecording } from './recorder.ts';
import { type UsageReader, usageReader } from './usage.ts';

export interface Upstream {
  /** With or without a version segment at its end, which then stands in for the `/v1` of the request. */
  baseUrl: string;
  apiKey: string | undefined;
}

/** Answers that may have no body, not even an empty one. */
const NULL_BODY = new Set([204, 205, 304]);

/** Forwards the request to the upstream and its answer to the client, and records the tokens used. */
export async function forward(c: Context<AuthEnv>, upstream: Upstream): Promise<Response> {
  const request = c.req.raw;
  const { signal } = request;
  const { pathname, search } = new URL(request.url);
  const record = c.get('record');

  let forwarded: ForwardedBody;
  try {
    forwarded = await forwardedBody(request, pathname, record.model);
  } catch (error) {
    if (error instanceof InvalidBody) return errorResponse(pathname, 400, error.message);
    throw error;
  }

  let answer: Response;
  try {
    const outgoing: RequestInit & { duplex: 'half' } = {
      method: request.method,
      headers: upstreamHeaders(request.headers, apiStyle(pathname), upstream.apiKey),
      body: forwarded.body,
      duplex: 'half',
      redirect: 'manual',
      signal,
    };
    answer = await fetch(upstreamUrl(upstream.baseUrl, pathname) + search, outgoing);
  } catch (error) {
    if (!signal.aborted) console.error(`no answer from the upstream to ${pathname}:`, error);
    return errorResponse(pathname, 502, 'The upstream can not be reached.');
  }

  const init = { status: answer.status, headers: clientHeaders(answer.headers) };
  if (!answer.body || NULL_BODY.has(answer.status)) return new Response(null, init);
  const usage = usageReader(answer.ok ? answer.headers.get('content-type') : null);
  const finish = beginRecording(record.key, forwarded.model);
  return new Response(measured(answer.body, usage, finish, signal), init);
}

function upstreamUrl(baseUrl: string, pathname: string): string {
  const base = baseUrl.replace(/\/+$/, '');
  return base + (/\/v\d+$/.test(base) ? pathname.slice('/v1'.length) : pathname);
}

/**
 * The same bytes at the client's pace, read for their usage once they are on their way. `finish` is called once, with
 * what is known by then: at the end, when the upstream fails, or when the client goes away.
 */
function measured(
  body: ReadableStream<Uint8Array>,
  usage: UsageReader,
  finish: (tokens: number) => void,
  signal: AbortSignal,
): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  let ended = false;
  const end = () => {
    if (!ended) finish(usage.tokens());
    ended = true;
  };
  signal.addEventListener('abort', end, { once: true });
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (done) {
            controller.close();
            end();
          } else {
            controller.enqueue(value);
            usage.feed(value);
          }
        } catch (error) {
          end();
          controller.error(error);
        }
      },
      cancel(reason) {
        end();
        return reader.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
