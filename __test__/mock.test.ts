/** the contract: 'Exports', its last sentence. */
import { expect, it, vi } from 'vitest';
import { ownerOf } from './fixtures/mocked/handler.ts';

vi.mock('./fixtures/mocked/storage.ts', () => ({
  findApiKey: async (key: string) => (key === 'known' ? { key, name: 'the mock' } : null),
}));

it('vi.mock of the storage.ts of a gateway keeps working', async () => {
  expect(await ownerOf('known')).toBe('the mock');
  expect(await ownerOf('unknown')).toBe('nobody');
});
