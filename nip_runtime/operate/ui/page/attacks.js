// Attacks that need no gradient: noise, a universal pattern, and Square (Andriushchenko et al. 2020).
import { softmax } from './gate.js';

/** Seeded uniform numbers in [0, 1): mulberry32. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const clip = (value) => Math.min(Math.max(value, 0), 1);

/** Pixels plus Gaussian noise, within [0, 1]. */
export function withNoise(pixels, sigma, seed) {
  const next = random(seed);
  return pixels.map((value) => {
    const gauss = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
    return clip(value + sigma * gauss);
  });
}

/** Pixels plus a pattern (entries in [−1, 1]) times ε, within [0, 1]. */
export const withPattern = (pixels, pattern, eps) => pixels.map((value, index) => clip(value + eps * pattern[index]));

const SHRINK = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000].map((step) => step / 10000);

/** A Square attack within L∞: ask `next()` for pixels, then tell `judge(loss)` how near they are to a mistake. */
export class Square {
  /**
   * @param {Float32Array} pixels benign, (C, H, W) in [0, 1]
   * @param {number[]} shape [C, H, W]
   * @param {number} eps largest change of a pixel
   * @param {number} queries how many questions it may ask
   * @param {number} seed of its choices
   */
  constructor(pixels, shape, eps, queries, seed) {
    Object.assign(this, { pixels, shape, eps, queries, asked: 0, loss: Infinity, best: null, tried: null });
    this.random = random(seed);
  }

  next() {
    this.tried = this.asked === 0 ? this.stripes() : this.withSquare();
    this.asked += 1;
    return this.tried;
  }

  judge(loss) {
    if (loss <= this.loss) [this.loss, this.best] = [loss, this.tried];
  }

  sign() {
    return this.random() < 0.5 ? -this.eps : this.eps;
  }

  stripes() {
    const [channels, height, width] = this.shape;
    const moved = new Float32Array(this.pixels.length);
    for (let channel = 0; channel < channels; channel += 1) {
      for (let column = 0; column < width; column += 1) {
        const step = this.sign();
        for (let row = 0; row < height; row += 1) this.put(moved, channel, row, column, step);
      }
    }
    return moved;
  }

  withSquare() {
    const [channels, height, width] = this.shape;
    const passed = SHRINK.filter((share) => this.asked / this.queries > share).length;
    const share = 0.8 / 2 ** passed;
    const side = Math.min(Math.max(Math.round(Math.sqrt(share * height * width)), 1), Math.min(height, width) - 1 || 1);
    const top = Math.floor(this.random() * (height - side + 1));
    const left = Math.floor(this.random() * (width - side + 1));
    const moved = this.best.slice();
    for (let channel = 0; channel < channels; channel += 1) {
      const step = this.sign();
      for (let row = top; row < top + side; row += 1) {
        for (let column = left; column < left + side; column += 1) this.put(moved, channel, row, column, step);
      }
    }
    return moved;
  }

  put(moved, channel, row, column, step) {
    const [, height, width] = this.shape;
    const index = (channel * height + row) * width + column;
    moved[index] = clip(this.pixels[index] + step);
  }
}

/** How far an answer is from the mistake the attacker wants: below 0 it is made. */
export function lossOf(answer, truth, sees) {
  const logits = sees === 'network' ? answer.rawLogits : answer.logits;
  const shares = softmax(logits);
  const others = Math.max(...shares.filter((_, index) => index !== truth));
  // Who sees the whole file also sees its flag: a mistake that is flagged is none.
  const caught = sees === 'file' && answer.flagged ? 1 + answer.suspicion : 0;
  return shares[truth] - others + caught;
}
