/**
 * The graph of gradients: what a call leaves behind so that it can be differentiated later.
 *
 * An edge names one output of one node. Tensors and the nodes that used them hold edges, and a node ends when nothing
 * holds it: with the scope that ends its tensors, not when the garbage collector comes round.
 */
import type { Value } from '../ops/contract.js';
import { GradError } from '../runtime/errors.js';
import type { Spec } from '../tensor/shape.js';
import { type Edge, type Storage, Tensor } from '../tensor/tensor.js';

/** A value kept outside every scope. */
export class Held {
  readonly spec: Spec;
  readonly storage: Storage;
  readonly #version: number;

  constructor(tensor: Tensor) {
    this.spec = tensor.spec;
    this.storage = tensor.storage('backward', 'x');
    this.storage.references++;
    this.#version = this.storage.version;
  }

  /** A tensor of it, which belongs to the scope that asks. */
  tensor(): Tensor {
    return new Tensor(this.spec, this.storage);
  }

  /** As `tensor`, where it must still be what it was when it was held. */
  unchanged(op: string): Tensor {
    if (this.storage.version !== this.#version)
      throw new GradError('a tensor that the gradient reads was changed in place meanwhile', {
        op,
        hint: 'call backward() before the optimiser steps',
      });
    return this.tensor();
  }

  /** Something else reads the same bytes. */
  get shared(): boolean {
    return this.storage.references > 1;
  }

  release(): void {
    this.storage.release();
  }
}

let made = 0;

export abstract class GraphNode {
  /** Later calls have higher numbers, so descending order visits every node after all that used it. */
  readonly id = made++;
  references = 0;
  /** Where each input came from; undefined where no gradient is wanted. */
  abstract readonly edges: readonly (GraphEdge | undefined)[];
  /** Inputs whose pending gradient `differentiate` adds by itself. */
  readonly accumulates: readonly number[] = [];
  /** Name for errors. */
  abstract readonly name: string;
  /** What it saved is gone: it was differentiated. */
  spent = false;

  /** Gradient of each input by those of the outputs. */
  abstract differentiate(
    grads: readonly (Tensor | undefined)[],
    pending: readonly (Tensor | undefined)[],
  ): readonly (Value | null | undefined)[];

  /** Lets go of what it saved. */
  abstract free(): void;

  spend(): void {
    if (!this.spent) this.free();
    this.spent = true;
  }
}

/** One output of a node. Making one holds the node, until `release`. */
export class GraphEdge implements Edge {
  constructor(
    readonly node: GraphNode,
    readonly output: number,
  ) {
    node.references++;
  }

  release(): void {
    // A loop, not a recursion: chains of calls are as long as a training step.
    const ended: GraphEdge[] = [this];
    for (let edge = ended.pop(); edge; edge = ended.pop()) {
      if (--edge.node.references > 0) continue;
      edge.node.spend();
      for (const next of edge.node.edges) if (next) ended.push(next);
    }
  }
}

export const edgeOf = (tensor: Tensor): GraphEdge | undefined => tensor.edge as GraphEdge | undefined;

/** A further hold on the place where a tensor hangs. */
export const holdEdge = (tensor: Tensor): GraphEdge | undefined => {
  const edge = edgeOf(tensor);
  return edge && new GraphEdge(edge.node, edge.output);
};
