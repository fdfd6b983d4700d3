// SQLite as the runtime brings it: `bun:sqlite`, or `node:sqlite` where Node has it.
//
// A write-ahead log, so that readers and the writer don't wait for each other; a prepared statement; the records as JSON
// in the tree of the keys, and the file mapped into memory: of the ways to store and read them the fastest.
import { isBuiltin } from 'node:module';
import type { DatabaseSync } from 'node:sqlite';
import type { Driver } from '../peers.ts';

const name = ['bun:sqlite', 'node:sqlite'].find(isBuiltin);
const module = name === undefined ? undefined : await import(name);
/** What is used of it is the same in both. */
const Database: typeof DatabaseSync | undefined = module?.Database ?? module?.DatabaseSync;

export const sqlite: Driver | undefined = Database && {
  name: 'sqlite',
  async make(path, data) {
    const database = new Database(path);
    database.exec(`
      PRAGMA journal_mode = WAL;
      CREATE TABLE records (key TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
      BEGIN;
    `);
    const insert = database.prepare('INSERT INTO records VALUES (?, ?)');
    for (const record of data.keys) insert.run(record.key, JSON.stringify(record));
    database.exec('COMMIT');
    // The last one to close it takes the log into the file.
    database.close();
  },
  open(path) {
    const database = new Database(path);
    database.exec('PRAGMA mmap_size = 1000000000');
    const select = database.prepare('SELECT record FROM records WHERE key = ?');
    return {
      find: key => {
        const row = select.get(key) as { record: string } | null | undefined;
        return row ? JSON.parse(row.record) : null;
      },
      close: () => database.close(),
    };
  },
};
