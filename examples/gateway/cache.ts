export * from 'keyledger/cache';
