type Json = Record<string, unknown>;

/** Reads the tokens used from an answer while its bytes pass by. Never throws. */
export interface UsageReader {
  feed(bytes: Uint8Array): void;
  /** The tokens that the bytes fed so far speak of; 0 when they speak of none. */
  tokens(): number;
}

/** For answers that have no usage block. */
const NO_USAGE: UsageReader = { feed() {}, tokens: () => 0 };

/** The reader for an answer of this content type. */
export function usageReader(contentType: string | null): UsageReader {
  const type = contentType?.split(';')[0]?.trim().toLowerCase() ?? '';
  if (type === 'text/event-stream') return new SseUsage();
  if (type === 'application/json' || type.endsWith('+json')) return new JsonUsage();
  return NO_USAGE;
}

function parseObject(text: string): Json | null {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null;
}

/**
 * The counts of one answer. A stream spreads them over events (Anthropic: input tokens in `message_start`, the final
 * output tokens in `message_delta`), so each count is the latest one that was not zero.
 */
class Counts {
  #total = 0;
  #input = 0;
  #output = 0;

  take(event: Json): void {
    for (const holder of [event, event.message, event.response]) {
      if (isObject(holder) && isObject(holder.usage)) this.#takeUsage(holder.usage);
    }
  }

  tokens(): number {
    return this.#total || this.#input + this.#output;
  }

  #takeUsage(usage: Json): void {
    this.#total = latest(usage.total_tokens, this.#total);
    this.#input = latest(usage.prompt_tokens ?? usage.input_tokens, this.#input);
    this.#output = latest(usage.completion_tokens ?? usage.output_tokens, this.#output);
  }
}

function latest(count: unknown, before: number): number {
  return typeof count === 'number' && Number.isFinite(count) && count > 0 ? count : before;
}

class JsonUsage implements UsageReader {
  readonly #chunks: Uint8Array[] = [];

  feed(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
  }

  tokens(): number {
    const answer = parseObject(Buffer.concat(this.#chunks).toString('utf8'));
    const counts = new Counts();
    if (answer) counts.take(answer);
    return counts.tokens();
  }
}

class SseUsage implements UsageReader {
  readonly #decoder = new TextDecoder();
  readonly #counts = new Counts();
  #line = '';
  #endsWithCr = false;
  #data: string[] = [];

  feed(bytes: Uint8Array): void {
    this.#feedText(this.#decoder.decode(bytes, { stream: true }));
  }

  tokens(): number {
    // A stream that was cut, or that has no blank line at its end, may still hold a whole event.
    this.#takeLine(this.#line);
    this.#takeLine('');
    this.#line = '';
    return this.#counts.tokens();
  }

  #feedText(decoded: string): void {
    if (decoded === '') return;
    const text = this.#endsWithCr ? `\r${decoded}` : decoded;
    // A CR at the end may be the first half of a CRLF.
    this.#endsWithCr = text.endsWith('\r');
    const lines = (this.#endsWithCr ? text.slice(0, -1) : text).split(/\r\n|\n|\r/);
    lines[0] = this.#line + lines[0];
    this.#line = lines.pop() ?? '';
    for (const line of lines) this.#takeLine(line);
  }

  #takeLine(line: string): void {
    if (line.startsWith('data:')) {
      this.#data.push(line.slice(5));
    } else if (line === '' && this.#data.length > 0) {
      const text = this.#data.join('\n');
      this.#data = [];
      const event = text.includes('"usage"') ? parseObject(text) : null;
      if (event) this.#counts.take(event);
    }
  }
}
