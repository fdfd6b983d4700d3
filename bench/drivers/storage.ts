// keyledger and the module that it replaces: the same exports, the same file.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Driver, Store } from '../drivers.ts';
import { type Column, type Storage, total } from '../measure.ts';

const ALL = '1000000';
/** Fewer than the keys in turn: each is gone before its turn comes again. */
const FEW = '5';

function driver(name: Column, script: string, settings: Record<string, string>): Driver {
  const open = async (folder: string, maxSize: string): Promise<Storage> => {
    const own = { CACHE_MAX_SIZE: maxSize, DATA_FILE: join(folder, 'apikeys.json') };
    Object.assign(process.env, settings, own);
    return import(script);
  };
  const storeOf = (storage: Storage): Store => ({
    find: storage.findApiKey,
    record: key => storage.updateApiKeyUsage(key, 1, 'glm-4.7'),
    load: storage.warmupCache,
    readAll: storage.readApiKeys,
    writeAll: storage.writeApiKeys,
    // The baseline counts no misses.
    ...(name !== 'baseline' && { counters: storage.cacheStats }),
  });
  return {
    name,
    async make(folder, data) {
      writeFileSync(join(folder, 'apikeys.json'), JSON.stringify(data, null, 2));
    },
    open: async folder => storeOf(await open(folder, ALL)),
    openCold: async folder => storeOf(await open(folder, FEW)),
    async total(folder) {
      return total(JSON.parse(readFileSync(join(folder, 'apikeys.json'), 'utf8')));
    },
  };
}

export const keyledger: Driver = driver('keyledger', '../../index.js', {});
export const unsynced: Driver = driver('keyledger, unsynced', '../../index.js', {
  DATA_FSYNC: 'false',
});
export const baseline: Driver = driver('baseline', '../baseline/storage.ts', {});
