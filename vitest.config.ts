import process from 'node:process';
import { defineConfig } from 'vitest/config';

/** Those of the packages are for `npm run test:packages` alone. */
const packages = process.env.KEYLEDGER_PACKAGES !== undefined;

export default defineConfig({
  test: {
    include: [packages ? '__test__/packages/*.check.ts' : '__test__/**/*.test.ts'],
    pool: 'forks',
    // They install and compile, and fetch runtimes that they share.
    ...(packages && { fileParallelism: false, hookTimeout: 120_000, testTimeout: 120_000 }),
  },
});
