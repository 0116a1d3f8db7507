import { createRequire } from 'node:module';
export function loadNative(): unknown {
  return createRequire(import.meta.url)(
    new URL('../../build/Release/attn_vk.node', import.meta.url).pathname,
  );
}
