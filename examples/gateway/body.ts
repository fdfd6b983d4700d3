/** The request body can't be forwarded; the message is for the client. */
export class InvalidBody extends Error {}

export interface ForwardedBody {
  body: RequestInit['body'];
  /** The model that the upstream is asked for, as far as it is known. */
  model: string;
}

/** Routes whose body has to be a JSON object. */
const GENERATION = new Set(['/v1/chat/completions', '/v1/messages']);
/** Routes that know `stream_options`. */
const OPENAI_STREAMS = new Set(['/v1/chat/completions', '/v1/completions']);

/**
 * The body to forward. It is the client's own, byte for byte, unless the key is bound to another model or an OpenAI
 * stream would end without its usage. What is not JSON is passed on as a stream.
 */
export async function forwardedBody(
  request: Request,
  path: string,
  ownModel: string | undefined,
): Promise<ForwardedBody> {
  const fallback = ownModel || 'unknown';
  if (request.method === 'GET' || request.method === 'HEAD' || !request.body) {
    if (request.method === 'POST' && GENERATION.has(path)) {
      throw new InvalidBody('The request has no body.');
    }
    return { body: null, model: fallback };
  }
  const mustBeObject = request.method === 'POST' && GENERATION.has(path);
  if (!mustBeObject && !/[/+]json\b/i.test(request.headers.get('content-type') ?? '')) {
    return { body: request.body, model: fallback };
  }

  const bytes = new Uint8Array(await request.arrayBuffer());
  if (bytes.length === 0 && !mustBeObject) return { body: null, model: fallback };
  const value = parse(bytes);
  if (!isObject(value)) {
    if (mustBeObject) throw new InvalidBody('The request body has to be a JSON object.');
    return { body: bytes, model: fallback };
  }

  let changed = false;
  if (ownModel && value.model !== ownModel && (mustBeObject || 'model' in value)) {
    value.model = ownModel;
    changed = true;
  }
  if (value.stream === true && OPENAI_STREAMS.has(path) && !asksForUsage(value.stream_options)) {
    const options = isObject(value.stream_options) ? value.stream_options : {};
    value.stream_options = { ...options, include_usage: true };
    changed = true;
  }
  return {
    body: changed ? new TextEncoder().encode(JSON.stringify(value)) : bytes,
    model: typeof value.model === 'string' ? value.model : fallback,
  };
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new InvalidBody('The request body is not valid JSON.');
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function asksForUsage(options: unknown): boolean {
  return isObject(options) && options.include_usage === true;
}
