import { Hono } from 'hono';
import { errorResponse } from './errors.ts';

interface ChatRequest {
  model?: string;
  stream?: boolean;
  stream_options?: { include_usage?: boolean };
  messages?: { role: string; content: unknown }[];
}

/** A stand-in for a model: repeats the last message, in the OpenAI and in the Anthropic format. A word is a token. */
export function standInUpstream(): Hono {
  const app = new Hono();
  app.get('/v1/models', c =>
    c.json({ object: 'list', data: [{ id: 'stand-in', object: 'model', owned_by: 'gateway' }] }),
  );
  app.post('/v1/chat/completions', async c => openai(await c.req.json<ChatRequest>()));
  app.post('/v1/messages', async c => anthropic(await c.req.json<ChatRequest>()));
  app.notFound(c => errorResponse(c.req.path, 404, `The stand-in has no ${c.req.path}.`));
  return app;
}

function words(text: string): string[] {
  return text.match(/\S+\s*/g) ?? [];
}

function compose(request: ChatRequest) {
  const texts = (request.messages ?? []).map(({ content }) =>
    typeof content === 'string' ? content : JSON.stringify(content ?? ''),
  );
  return {
    model: request.model ?? 'stand-in',
    answer: words(`You said: ${texts.at(-1) ?? 'nothing'}`),
    input: words(texts.join(' ')).length,
  };
}

function eventStream(events: string[]): Response {
  const chunks = events.values();
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const { done, value } = chunks.next();
      if (done) controller.close();
      else controller.enqueue(encoder.encode(value));
    },
  });
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
}

function openai(request: ChatRequest): Response {
  const { model, answer, input } = compose(request);
  const created = Math.floor(Date.now() / 1000);
  const id = `chatcmpl-${crypto.randomUUID()}`;
  const usage = {
    prompt_tokens: input,
    completion_tokens: answer.length,
    total_tokens: input + answer.length,
  };
  if (!request.stream) {
    const message = { role: 'assistant', content: answer.join('') };
    const choices = [{ index: 0, message, finish_reason: 'stop' }];
    return Response.json({ id, object: 'chat.completion', created, model, choices, usage });
  }

  const chunk = (choices: object[], rest: object = {}) =>
    `data: ${JSON.stringify({ id, object: 'chat.completion.chunk', created, model, choices, ...rest })}\n\n`;
  const delta = (content: object, finish_reason: string | null = null) =>
    chunk([{ index: 0, delta: content, finish_reason }]);
  return eventStream([
    delta({ role: 'assistant', content: '' }),
    ...answer.map(content => delta({ content })),
    delta({}, 'stop'),
    ...(request.stream_options?.include_usage ? [chunk([], { usage })] : []),
    'data: [DONE]\n\n',
  ]);
}

function anthropic(request: ChatRequest): Response {
  const { model, answer, input } = compose(request);
  const message = {
    id: `msg_${crypto.randomUUID()}`,
    type: 'message',
    role: 'assistant',
    model,
    content: [] as object[],
    stop_reason: null as string | null,
    stop_sequence: null,
    usage: { input_tokens: input, output_tokens: 0 },
  };
  const end = { stop_reason: 'end_turn', stop_sequence: null };
  if (!request.stream) {
    const content = [{ type: 'text', text: answer.join('') }];
    const usage = { input_tokens: input, output_tokens: answer.length };
    return Response.json({ ...message, ...end, content, usage });
  }

  const event = (type: string, data: object = {}) =>
    `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
  const index = 0;
  return eventStream([
    event('message_start', { message }),
    event('content_block_start', { index, content_block: { type: 'text', text: '' } }),
    ...answer.map(text =>
      event('content_block_delta', { index, delta: { type: 'text_delta', text } }),
    ),
    event('content_block_stop', { index }),
    event('message_delta', { delta: end, usage: { output_tokens: answer.length } }),
    event('message_stop'),
  ]);
}
