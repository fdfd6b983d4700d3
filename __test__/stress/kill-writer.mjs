/**
 * A writer that is there to be killed; its arguments are keys. Each of its steps adds 1 to the totals of all of them, or
 * of none. It does what messages tell it, and prints at once when a step begins (`s`) and when it has resolved (`r`), so
 * that what it had promised is known when it is killed.
 */
import { writeSync } from 'node:fs';
import process from 'node:process';
import { setImmediate, setTimeout } from 'node:timers/promises';
import * as ledger from '../../index.js';

const keys = process.argv.slice(2);
let running = false;
let stopped = false;

/** @param {string} line */
function print(line) {
  for (;;) {
    try {
      writeSync(1, `${line}\n`);
      return;
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EAGAIN') throw error;
    }
  }
}

/** @param {() => Promise<unknown>} work */
async function step(work) {
  print('s');
  await work();
  print('r');
}

const update = () => Promise.all(keys.map(key => ledger.updateApiKeyUsage(key, 1, 'model')));

async function readAndWrite() {
  const data = await ledger.readApiKeys();
  for (const entry of data.keys.filter(({ key }) => keys.includes(key))) {
    entry.total_lifetime_tokens += 1;
    entry.usage_windows.push({ window_start: new Date().toISOString(), tokens_used: 1 });
  }
  await setTimeout(Math.random() * 3);
  await ledger.writeApiKeys(data);
}

/** @type {Record<string, (data: import('../../index.js').ApiKeysData) => Promise<unknown>>} */
const steps = {
  update: () => step(update),
  /** One batch, and another that comes while the first is committed. */
  updates: async () => {
    const first = step(update);
    await setImmediate();
    await Promise.all([first, step(update)]);
  },
  edit: () => step(() => ledger.withLock(readAndWrite)),
  updateInside: () =>
    ledger.withLock(async () => {
      await step(update);
      await setTimeout(Math.random() * 3);
    }),
  write: () => step(readAndWrite),
  create: data => step(() => ledger.writeApiKeys(data)),
  exit: async () => {
    print('s');
    void update();
    process.exit(0);
  },
};

/** @param {Error & { code?: string }} error */
function fail({ code, message }) {
  print(`failed ${code} ${message}`);
  process.exit(1);
}

/** @param {string} name @param {import('../../index.js').ApiKeysData} data */
async function once(name, data) {
  const start = performance.now();
  await steps[name]?.(data);
  print(`done ${performance.now() - start}`);
}

/** @param {string[]} names */
async function forever(names) {
  running = true;
  while (!stopped) {
    await steps[names[Math.floor(Math.random() * names.length)] ?? '']?.({ keys: [] });
    await setTimeout(Math.random() * 2);
  }
  process.disconnect();
}

process.on('message', (/** @type {any} */ message) => {
  if (message.once) once(message.once, message.data).catch(fail);
  else if (message.forever) forever(message.forever).catch(fail);
  else if (running) stopped = true;
  else process.disconnect();
});
// Nobody would kill it any more.
process.on('disconnect', () => process.exit(0));

if (process.env.UV_THREADPOOL_SIZE === '1' && process.versions.bun) {
  // Bun's pool has two threads at least. One sleeps, so that the other makes all system calls.
  const { Ledger } = await import('../../lib/native.js');
  void Ledger.pause(60_000);
}
const user = Number(process.env.WRITER_UID ?? 0);
if (user > 0) {
  process.setgid?.(user);
  process.setuid?.(user);
}
print('ready');
