/** Files that others read and write. */
export { type LayoutName, loadModel, loadWeights, type SaveOptions, saveModel } from './model-folder.js';
export { readNpy, writeNpy } from './npy.js';
export {
  fromHost,
  type HostTensor,
  readSafetensors,
  SafetensorsFile,
  streamSafetensors,
  type TensorSource,
  toHost,
  writeSafetensors,
} from './safetensors.js';
export { EventWriter } from './tensorboard.js';
