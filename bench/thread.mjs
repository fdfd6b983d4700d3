// Evaluates a TypeScript module in a worker thread: Node 20 does not hand down the loader of the thread that starts it.
import process from 'node:process';
import { workerData } from 'node:worker_threads';

if (!process.versions.bun) (await import('tsx/esm/api')).register();
await import(workerData.script);
