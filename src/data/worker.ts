/** The thread that makes batches: opens the set by itself and answers requests in their order. */
import { parentPort, workerData } from 'node:worker_threads';
import { BatchMaker, describe } from './batches.js';
import { openData } from './registry.js';
import { type Opening, packError, packInfo, type Reply, type Request } from './wire.js';

const port = parentPort!;
const { config, seed } = workerData as Opening;
const send = (reply: Reply, transfer: ArrayBuffer[] = []) => port.postMessage(reply, transfer);

try {
  const set = await openData(config, { seed });
  const maker = new BatchMaker(set, config, seed);
  send({ info: packInfo(describe(set, config.name)) });
  port.on('message', (request: Request) => {
    try {
      const packed = maker.make(request.split, request.number);
      send({ ...request, ...packed }, [packed.buffer]);
    } catch (error) {
      send({ ...request, error: packError(error) });
    }
  });
} catch (error) {
  send({ openError: packError(error) });
}
