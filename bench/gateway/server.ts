// A process of `gateway.ts`: the gateway whose files are in GATEWAY, in front of an upstream that costs next to nothing.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { serve } from '../child.ts';

export type Question = 'state' | 'stop';

export interface Answer {
  url: string;
  /** How many requests the upstream has answered. */
  served: number;
  /** Of the processor, in seconds. */
  cpu: number;
  /** The most memory that it had, in bytes. */
  peak: number;
  /** What the gateway has logged as an error: how often, and the first of it. */
  errors: number;
  error: string;
}

/** What each answer of the upstream says that it has used. */
export const TOKENS = 3;
export const TEXT = 'Good morning';

const ANSWER = JSON.stringify({
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1_767_225_600,
  model: 'glm-4.7',
  choices: [{ index: 0, message: { role: 'assistant', content: TEXT }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: TOKENS },
});
const JSON_ANSWER = { headers: { 'content-type': 'application/json' } };

/** The `maxRSS` of `resourceUsage` begins with that of the process that started this one. */
function peak(): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(/VmHWM:\s*(\d+) kB/.exec(status)?.[1]) * 1024;
}

async function run(gateway: string): Promise<void> {
  let served = 0;
  let errors = 0;
  let error = '';
  globalThis.fetch = async (_, init) => {
    init?.signal?.throwIfAborted();
    served++;
    return new Response(ANSWER, JSON_ANSWER);
  };
  // A gateway that fails all the time would measure the terminal.
  console.error = (...words: unknown[]) => {
    error ||= words.map(String).join(' ');
    errors++;
  };

  const part = (name: string) => import(join(gateway, name));
  const { createApp }: typeof import('../../examples/gateway/app.ts') = await part('app.ts');
  const { listen }: typeof import('../../examples/gateway/listen.ts') = await part('listen.ts');
  const { allRecorded }: typeof import('../../examples/gateway/recorder.ts') =
    await part('recorder.ts');
  const { flush }: Partial<typeof import('../../examples/gateway/storage.ts')> =
    await part('storage.ts');
  const app = createApp({ baseUrl: 'http://upstream.invalid', apiKey: undefined });
  const listener = await listen(app.fetch, '127.0.0.1', 0);

  await serve(async (question: Question): Promise<Answer> => {
    if (question === 'stop') {
      await listener.close(10_000);
      await allRecorded();
      await flush?.();
    }
    const { userCPUTime, systemCPUTime } = process.resourceUsage();
    const cpu = (userCPUTime + systemCPUTime) / 1e6;
    const url = `http://127.0.0.1:${listener.port}`;
    return { url, served, cpu, peak: peak(), errors, error };
  });
}

if (process.env.GATEWAY) await run(process.env.GATEWAY);
