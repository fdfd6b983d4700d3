import { defineConfig } from 'vitest/config';

/** The addon that `npm run asan` has built. Only the tests load it: vitest comes with addons that obey the same variable. */
const addon = process.env.KEYLEDGER_ADDON;

export default defineConfig({
  test: {
    include: ['__test__/**/*.test.ts'],
    pool: 'forks',
    env: addon === undefined ? {} : { NAPI_RS_NATIVE_LIBRARY_PATH: addon },
  },
});
