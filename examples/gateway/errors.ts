/** The API whose error objects a client of `path` understands. */
export type ApiStyle = 'openai' | 'anthropic';

export function apiStyle(path: string): ApiStyle {
  return path === '/v1/messages' || path.startsWith('/v1/messages/') ? 'anthropic' : 'openai';
}

type ErrorStatus = 400 | 401 | 403 | 404 | 429 | 500 | 502;

const KINDS: Record<ErrorStatus, { openai: string; code: string; anthropic: string }> = {
  400: {
    openai: 'invalid_request_error',
    code: 'invalid_body',
    anthropic: 'invalid_request_error',
  },
  401: {
    openai: 'invalid_request_error',
    code: 'invalid_api_key',
    anthropic: 'authentication_error',
  },
  403: { openai: 'permission_error', code: 'expired_api_key', anthropic: 'permission_error' },
  404: { openai: 'invalid_request_error', code: 'not_found', anthropic: 'not_found_error' },
  429: { openai: 'rate_limit_error', code: 'rate_limit_exceeded', anthropic: 'rate_limit_error' },
  500: { openai: 'server_error', code: 'internal_error', anthropic: 'api_error' },
  502: { openai: 'server_error', code: 'upstream_unreachable', anthropic: 'api_error' },
};

/** An error in the shape of the API that `path` belongs to. */
export function errorResponse(
  path: string,
  status: ErrorStatus,
  message: string,
  headers?: Record<string, string>,
): Response {
  const kind = KINDS[status];
  const body =
    apiStyle(path) === 'anthropic'
      ? { type: 'error', error: { type: kind.anthropic, message } }
      : { error: { message, type: kind.openai, param: null, code: kind.code } };
  return Response.json(body, { status, headers });
}
