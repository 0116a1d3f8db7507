/** What autograd adds to tensors. */
import { Tensor } from '../tensor/tensor.js';
import { type BackwardOptions, backward } from './backward.js';
import { leafOf, setGrad, setRequiresGrad } from './leaf.js';

declare module '../tensor/tensor.js' {
  interface Tensor {
    /** A gradient flows to this tensor. Settable on tensors that were not computed: they are leaves then. */
    requiresGrad: boolean;
    /** Of a leaf: the sum of what backward() brought since it was last set to null. */
    grad: Tensor | null;
    /**
     * Adds the gradient of this tensor to every leaf that it depends on, and frees what was saved for that.
     * @param gradient the gradient of the loss by this tensor; left out where this is the loss, a scalar.
     */
    backward(gradient?: Tensor, options?: BackwardOptions): void;
    /** The same values, outside the graph of gradients. */
    detach(): Tensor;
  }
}

const define = (name: string, descriptor: PropertyDescriptor): void => {
  Object.defineProperty(Tensor.prototype, name, { ...descriptor, configurable: true });
};

define('requiresGrad', {
  get(this: Tensor) {
    return this.edge !== undefined;
  },
  set(this: Tensor, wanted: boolean) {
    setRequiresGrad(this, Boolean(wanted));
  },
});
define('grad', {
  get(this: Tensor) {
    return leafOf(this)?.grad ?? null;
  },
  set(this: Tensor, grad: Tensor | null) {
    setGrad(this, grad);
  },
});
define('backward', {
  value(this: Tensor, gradient?: Tensor, options?: BackwardOptions) {
    backward(this, gradient, options);
  },
  writable: true,
});
define('detach', {
  value(this: Tensor) {
    return new Tensor(this.spec, this);
  },
  writable: true,
});
