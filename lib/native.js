// The addon.
import { load } from './load.cjs';

export const { Batch, Hold, Ledger, Lru } = load();
