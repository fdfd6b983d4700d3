/** As its user would: the packages installed into empty projects, and used there. */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { root } from '../../scripts/prepare.mjs';
import { installByBun, installByNpm, makeProject, run, useRegistry } from './registry.js';
import { bun, RUNTIMES } from './runtimes.js';

useRegistry();

/** Uses what `storage` and `cache` export; prints what came of it. */
const USE = `
  const file = 'data/apikeys.json';
  fs.mkdirSync('data', { recursive: true });
  const record = { key: 'sk-a', name: 'A', token_limit_per_5h: 9, expiry_date: '2099-01-01T00:00:00.000Z',
    created_at: '2026-01-01T00:00:00.000Z', last_used: '2026-01-01T00:00:00.000Z', total_lifetime_tokens: 1, usage_windows: [] };
  fs.writeFileSync(file, JSON.stringify({ keys: [record] }, null, 2));
  await storage.updateApiKeyUsage('sk-a', 41, 'm');
  await storage.flush();
  const found = await storage.findApiKey('sk-a');
  const lru = new cache.LRUCacheImpl(1);
  lru.set('x', { of: 'any kind' });
  console.log(JSON.stringify({
    total: found.total_lifetime_tokens,
    unknown: await storage.findApiKey('sk-b'),
    inFile: JSON.parse(fs.readFileSync(file, 'utf8')).keys[0].total_lifetime_tokens,
    lru: lru.get('x').of,
    same: storage.apiKeyCache === cache.apiKeyCache,
  }));
`;
const USED = { total: 42, unknown: null, inFile: 42, lru: 'any kind', same: true };

const PROGRAMS: Record<string, { type: 'commonjs' | 'module'; name: string; source: string }> = {
  'import in an ES module': {
    type: 'module',
    name: 'static.js',
    source: `import fs from 'node:fs';
      import * as storage from 'keyledger';
      import * as cache from 'keyledger/cache';
      ${USE}`,
  },
  'dynamic import in CommonJS': {
    type: 'commonjs',
    name: 'dynamic.js',
    source: `const fs = require('node:fs');
      (async () => { const storage = await import('keyledger'); const cache = await import('keyledger/cache'); ${USE} })();`,
  },
  'require in CommonJS': {
    type: 'commonjs',
    name: 'required.js',
    source: `const fs = require('node:fs');
      const storage = require('keyledger'); const cache = require('keyledger/cache');
      (async () => { ${USE} })();`,
  },
};

const INSTALLERS: Record<string, (project: string) => Promise<void>> = {
  npm: installByNpm,
  Bun: project => {
    const cache = { BUN_INSTALL_CACHE_DIR: join(project, '.bun') };
    return installByBun(project, (...args) => run(project, cache, bun, ...args));
  },
};

describe.each(Object.entries(INSTALLERS))('installed by %s', (_, install) => {
  test.each(Object.entries(PROGRAMS))('%s, on every runtime', async (_, { type, name, source }) => {
    const project = makeProject(type);
    await install(project);
    writeFileSync(join(project, name), source);
    const printed: Record<string, unknown> = {};
    for (const [runtime, command] of RUNTIMES) {
      const output = await run(project, { DATA_FILE: 'data/apikeys.json' }, command, name);
      printed[runtime] = JSON.parse(output);
    }
    expect(printed).toEqual(Object.fromEntries(RUNTIMES.map(([runtime]) => [runtime, USED])));
    const packages = readdirSync(join(project, 'node_modules')).filter(
      name => !name.startsWith('.'),
    );
    expect(packages).toEqual(['keyledger', 'keyledger-linux-x64-gnu']);
  });

  test('types, as a gateway uses them', async () => {
    const project = makeProject('module');
    await install(project);
    const use = `
      const record: ApiKey | null = await findApiKey('sk-a');
      const left: number = record ? record.token_limit_per_5h - record.total_lifetime_tokens : 0;
      const done: Promise<void> = updateApiKeyUsage('sk-a', left, 'm');
      const lru: LRUCache<number> = new LRUCacheImpl<number>(10);
      const stats: CacheStats = lru.getStats();
      export { done, stats };
    `;
    writeFileSync(join(project, 'storage.ts'), `export * from 'keyledger';\n`);
    writeFileSync(join(project, 'cache.ts'), `export * from 'keyledger/cache';\n`);
    writeFileSync(
      join(project, 'gateway.ts'),
      `import { type ApiKey, findApiKey, updateApiKeyUsage } from './storage.js';
       import { type CacheStats, type LRUCache, LRUCacheImpl } from './cache.js';
       ${use}`,
    );
    writeFileSync(
      join(project, 'required.cts'),
      `import keyledger = require('keyledger');
       export const found: Promise<keyledger.ApiKey | null> = keyledger.findApiKey('sk-a');`,
    );
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const compile = async (module: string, moduleResolution: string, ...files: string[]) => {
      const compilerOptions = {
        ...{ module, moduleResolution, noEmit: true, skipLibCheck: false, strict: true },
        ...{ target: 'es2022', types: [] },
      };
      writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
      // What is wrong goes to the standard output.
      return run(project, {}, process.execPath, tsc).catch(({ stdout }) => stdout);
    };
    expect(await compile('esnext', 'bundler', 'gateway.ts')).toBe('');
    expect(await compile('nodenext', 'nodenext', 'gateway.ts', 'required.cts')).toBe('');
    const wrong = `import { findApiKey } from 'keyledger'; export const found = findApiKey(1);`;
    writeFileSync(join(project, 'wrong.ts'), wrong);
    expect(await compile('nodenext', 'nodenext', 'wrong.ts')).toContain('not assignable');
  });
});
