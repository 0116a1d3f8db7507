/** A layout says how a model lies in a folder: what config.json holds and which names the tensors have. */
import type { GPTConfig } from '../../model/config.js';
import type { GPT } from '../../model/gpt.js';
import type { JsonObject } from '../json.js';

/** Where a tensor of a file comes from, and where it goes to: rows of one of our parameters, turned over or not. */
export interface Slot {
  /** In the file. */
  name: string;
  /** Of ours. */
  parameter: string;
  /** Rows of ours that it is; default all. */
  rows?: readonly [from: number, to: number];
  /** The file holds [in, out] where we hold [out, in]. */
  transposed?: boolean;
}

export interface Layout {
  readonly name: string;
  /** Why it cannot express a model exactly; null: it can. */
  refuses(model: GPT): string | null;
  /** What config.json says of the model. */
  toConfig(model: GPT): JsonObject;
  /**
   * @param path of config.json, for errors
   * @throws FormatError, ConfigError naming the key that cannot be
   */
  fromConfig(json: JsonObject, path: string): GPTConfig;
  /** The tensors of a model, each of our parameters whole. */
  slots(model: GPT): Slot[];
}
