import type { ApiStyle } from './errors.ts';

const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
];

function withoutHopByHop(headers: Headers): Headers {
  const kept = new Headers(headers);
  const named = (headers.get('connection') ?? '').split(',').map(name => name.trim());
  for (const name of [...HOP_BY_HOP, ...named]) {
    if (/^[\w!#$%&'*+.^`|~-]+$/.test(name)) kept.delete(name);
  }
  return kept;
}

/** The client's headers as the upstream gets them, with the upstream's key in place of the client's. */
export function upstreamHeaders(
  client: Headers,
  style: ApiStyle,
  upstreamKey: string | undefined,
): Headers {
  const headers = withoutHopByHop(client);
  for (const name of ['host', 'content-length', 'expect', 'authorization', 'x-api-key']) {
    headers.delete(name);
  }
  // `fetch` would decompress, and the bytes would no longer be the upstream's own.
  headers.set('accept-encoding', 'identity');
  if (upstreamKey && style === 'anthropic') headers.set('x-api-key', upstreamKey);
  else if (upstreamKey) headers.set('authorization', `Bearer ${upstreamKey}`);
  return headers;
}

/** The upstream's headers as the client gets them. */
export function clientHeaders(upstream: Headers): Headers {
  const headers = withoutHopByHop(upstream);
  // An upstream that compresses all the same was decompressed by `fetch`. The length is the server's to set.
  headers.delete('content-encoding');
  headers.delete('content-length');
  return headers;
}
