// The images that came with the page, benign and attacked: see nip_runtime.operate.ui.examples for their order.
import { toPattern, toPixels } from './pictures.js';

export class Examples {
  constructor(facts, bytes) {
    Object.assign(this, facts.examples, { bytes, shape: facts.manifest.input.shape });
    this.size = this.shape.reduce((product, length) => product * length, 1);
  }

  /** Picture of an example, (H, W, C). */
  picture(index) { return this.#entry(index); }

  /** Pixels of an example under a prepared attack. */
  attacked(attack, index) { return toPixels(this.#entry(this.count + attack * this.prepared + index), this.shape); }

  /** The universal pattern in [−1, 1]. */
  pattern() { return toPattern(new Int8Array(this.bytes.buffer, this.bytes.length - this.size, this.size), this.shape, 127); }

  isPrepared(index) { return index !== null && index < this.prepared; }

  #entry(place) { return this.bytes.subarray(place * this.size, (place + 1) * this.size); }
}
