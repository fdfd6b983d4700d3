import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { prepare, root, SetupError } from './prepare.mjs';

const gateway = join(root, 'examples', 'gateway');

/** The command that runs a TypeScript file, on Node or on Bun. */
function chooseRuntime() {
  const args = process.argv.slice(2);
  const unknown = args.find(arg => arg !== '--node');
  if (unknown !== undefined) {
    throw new SetupError(`"${unknown}" is not known. Usage: npm start [-- --node]`);
  }
  if (args.includes('--node')) return [process.execPath, '--import', 'tsx'];
  const bun = join(root, 'node_modules', '.bin', 'bun');
  if (!existsSync(bun)) {
    throw new SetupError('Bun was not installed for this machine. Try: npm start -- --node');
  }
  return [bun];
}

/**
 * Writes a data file where there is none, and gives the demo key that is in it.
 *
 * @param {string[]} runtime
 * @param {NodeJS.ProcessEnv} env
 */
function seed([command = '', ...args], env) {
  const seeded = spawnSync(command, [...args, 'seed.ts'], {
    cwd: gateway,
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (seeded.status !== 0) {
    throw new SetupError(`The data file ${env.DATA_FILE} can not be written or read.`);
  }
  return /^sk-demo-.*$/m.exec(seeded.stdout)?.[0] ?? 'YOUR_KEY';
}

/**
 * Runs the gateway, says how to try it, and ends as it ends.
 *
 * @param {string[]} runtime
 * @param {NodeJS.ProcessEnv} env
 * @param {string} key
 */
function serve([command = '', ...args], env, key) {
  const child = spawn(command, [...args, 'server.ts'], {
    cwd: gateway,
    env,
    stdio: ['inherit', 'pipe', 'inherit'],
  });
  // The gateway decides when it is done; this process only waits for it.
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(signal, () => child.kill(signal === 'SIGHUP' ? 'SIGTERM' : signal));
  }
  if (process.env.npm_lifecycle_event) endWithParent(child);
  child.on('error', error => {
    console.error(`${command} can not be run: ${error.message}`);
    process.exitCode = 1;
  });
  child.on('close', (code, signal) => {
    process.exitCode = code ?? 128 + (signal ? constants.signals[signal] : 0);
  });

  let printed = '';
  let shown = false;
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', text => {
    process.stdout.write(text);
    if (shown) return;
    printed += text;
    const url = /^gateway listening on (\S+)\n/m.exec(printed)?.[1];
    if (!url) return;
    shown = true;
    console.log(`\nTry it:\n\n${curlLine(url, key)}\n`);
  });
}

/**
 * npm passes a signal to the shell that it runs a script in, and that shell may die of it without telling anybody.
 *
 * @param {import('node:child_process').ChildProcess} child
 */
function endWithParent(child) {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    child.kill('SIGTERM');
  }, 200);
  watch.unref();
}

/**
 * @param {string} url
 * @param {string} key
 */
function curlLine(url, key) {
  const body = JSON.stringify({ model: 'any', messages: [{ role: 'user', content: 'Hello' }] });
  const headers = `-H 'authorization: Bearer ${key}' -H 'content-type: application/json'`;
  return `curl ${url}/v1/chat/completions ${headers} -d '${body}'`;
}

try {
  prepare();
  const runtime = chooseRuntime();
  const file = resolve(process.env.DATA_FILE || join(gateway, 'data', 'apikeys.json'));
  const env = { ...process.env, DATA_FILE: file };
  serve(runtime, env, seed(runtime, env));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`\n${error.message}`);
  process.exitCode = 1;
}
