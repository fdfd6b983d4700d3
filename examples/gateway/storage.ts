export * from 'keyledger';
