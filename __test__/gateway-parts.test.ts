import { describe, expect, it } from 'vitest';
import { currentWindow, secondsUntilWithinQuota } from '../examples/gateway/quota.ts';
import { usageReader } from '../examples/gateway/usage.ts';
import { apiKey } from './gateway-harness.ts';

const SSE = 'text/event-stream; charset=utf-8';

function tokensOf(contentType: string, text: string, chunkSize = 1 << 20): number {
  const reader = usageReader(contentType);
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; at += chunkSize) {
    reader.feed(bytes.slice(at, at + chunkSize));
  }
  return reader.tokens();
}

describe('usage in a JSON answer', () => {
  const cases: [string, unknown, number][] = [
    ['OpenAI, total', { usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 7 } }, 7],
    ['OpenAI, no total', { usage: { prompt_tokens: 1, completion_tokens: 2 } }, 3],
    ['Anthropic', { usage: { input_tokens: 10, output_tokens: 5 } }, 15],
    ['no usage', { choices: [] }, 0],
    ['usage null', { usage: null }, 0],
    ['not numbers', { usage: { prompt_tokens: '5', completion_tokens: null } }, 0],
    ['negative', { usage: { prompt_tokens: -5, completion_tokens: 2 } }, 2],
    ['an array', [{ usage: { total_tokens: 7 } }], 0],
  ];
  for (const [name, answer, tokens] of cases) {
    it(name, () => {
      expect(tokensOf('application/json', JSON.stringify(answer))).toBe(tokens);
    });
  }

  it('a cut or broken text', () => {
    expect(tokensOf('application/json', '{"usage":{"total_tokens":7}')).toBe(0);
    expect(tokensOf('application/json', '')).toBe(0);
  });

  it('answers of other types have none', () => {
    expect(tokensOf('audio/mpeg', '{"usage":{"total_tokens":7}}')).toBe(0);
    expect(usageReader(null).tokens()).toBe(0);
  });
});

describe('usage in a stream', () => {
  const openai = [
    'data: {"choices":[{"delta":{"content":"say \\"usage\\": \u{1f600}"}}],"usage":null}',
    'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":9,"total_tokens":13}}',
    'data: [DONE]',
  ];
  const anthropic = [
    'event: message_start\ndata: {"message":{"usage":{"input_tokens":25,"output_tokens":1}}}',
    'event: content_block_delta\ndata: {"delta":{"text":"hi"}}',
    'event: message_delta\ndata: {"usage":{"output_tokens":15}}',
    'event: message_stop\ndata: {}',
  ];

  for (const end of ['\n', '\r\n', '\r']) {
    it(`whatever the chunks, with ${JSON.stringify(end)} as the end of a line`, () => {
      for (const [events, tokens] of [
        [openai, 13],
        [anthropic, 40],
      ] as const) {
        const text = `${events.join('\n\n')}\n\n`.replaceAll('\n', end);
        for (const size of [1, 2, 3, 7, 64, 10_000]) expect(tokensOf(SSE, text, size)).toBe(tokens);
      }
    });
  }

  it('the last usage counts', () => {
    const text = [5, 9, 7].map(n => `data: {"usage":{"total_tokens":${n}}}\n\n`).join('');
    expect(tokensOf(SSE, text)).toBe(7);
  });

  it('a stream that was cut: what is known', () => {
    expect(tokensOf(SSE, anthropic.slice(0, 2).join('\n\n'))).toBe(26);
  });

  it('a last event without a blank line behind it', () => {
    expect(tokensOf(SSE, 'data:{"usage":{"total_tokens":3}}')).toBe(3);
  });

  it('data in several lines, comments, broken JSON', () => {
    const text =
      ': ping\n\ndata: {"usage": oops}\n\ndata: {"usage":\ndata: {"total_tokens":6}}\n\n';
    for (const size of [1, 1000]) expect(tokensOf(SSE, text, size)).toBe(6);
  });
});

describe('quota', () => {
  const now = Date.parse('2026-05-05T12:00:00.000Z');
  const window = (minutesAgo: number, tokens_used: number) => ({
    window_start: new Date(now - minutesAgo * 60_000).toISOString(),
    tokens_used,
  });
  const wait = (limit: number, ...usage_windows: ReturnType<typeof window>[]) =>
    secondsUntilWithinQuota(apiKey('k', { token_limit_per_5h: limit, usage_windows }), now);

  it('within the limit there is no wait', () => {
    expect(wait(100)).toBe(0);
    expect(wait(100, window(10, 99))).toBe(0);
    expect(wait(100, window(300, 500), window(10, 99))).toBe(0);
  });

  it('waits for as many of the oldest windows as it takes', () => {
    expect(wait(100, window(60, 100))).toBe(4 * 3600);
    expect(wait(100, window(60, 50), window(240, 50))).toBe(3600);
    expect(wait(100, window(60, 150), window(240, 50))).toBe(4 * 3600);
  });

  it('is at least a second, and five hours where no wait helps', () => {
    const almost = { window_start: new Date(now - 5 * 3_600_000 + 1).toISOString() };
    expect(wait(10, { ...almost, tokens_used: 10 })).toBe(1);
    expect(wait(0)).toBe(5 * 3600);
    expect(wait(0, window(60, 10))).toBe(5 * 3600);
  });

  it('the current window', () => {
    const usage_windows = [window(301, 7), window(60, 30), window(30, 40)];
    expect(currentWindow(apiKey('k', { token_limit_per_5h: 100, usage_windows }), now)).toEqual({
      used: 70,
      started: '2026-05-05T11:00:00.000Z',
      ends: '2026-05-05T16:00:00.000Z',
      remaining: 30,
    });
    expect(currentWindow(apiKey('k', { token_limit_per_5h: 100 }), now)).toEqual({
      used: 0,
      started: null,
      ends: null,
      remaining: 100,
    });
  });
});
