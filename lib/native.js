// The addon. `native.cjs` is the loader that the napi CLI generates.
import { createRequire } from 'node:module';

/** @type {typeof import('../native.cjs')} */
const native = createRequire(import.meta.url)('../native.cjs');

export const { Batch, Hold, Ledger, Lru } = native;
