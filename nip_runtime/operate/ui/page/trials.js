// Attacks whose outcome is counted: all prepared ones, and live ones.
import { fateOf } from './gate.js';
import { draw, toPixels } from './pictures.js';
import { $, steps } from './views.js';

const outcome = (answer, truth) => ({ fate: fateOf(answer, truth), rawRight: answer.rawLabel === truth });

export class Trials {
  /** `page` holds client, views, examples, state, and what to call: quietly(index), working(busy), failed(error). */
  constructor(page) {
    Object.assign(this, page);
    this.isStopped = false;
    $('run-all').addEventListener('click', () => this.#run(() => this.#prepared()));
    $('square-one').addEventListener('click', () => this.#run(() => this.#squareOne('')));
    $('square-all').addEventListener('click', () => this.#run(() => this.#squareAll()));
    $('square-stop').addEventListener('click', () => {
      this.isStopped = true;
      this.client.stop();
    });
  }

  async #run(work) {
    this.working(true);
    this.isStopped = false;
    try {
      await work();
    } catch (error) {
      this.failed(error);
    } finally {
      this.working(false);
    }
  }

  async #prepared() {
    const { examples } = this;
    await this.#batch('no attack', (row) => toPixels(examples.picture(row), examples.shape), false);
    for (const [index, { name, eps }] of examples.attacks.entries()) {
      await this.#batch(`${name} ${eps}/255`, (row) => examples.attacked(index, row), true);
    }
  }

  async #batch(name, pixelsOf, isAttack) {
    const { prepared: rows, size, labels } = this.examples;
    const pixels = new Float32Array(rows * size);
    for (let row = 0; row < rows; row += 1) pixels.set(pixelsOf(row), row * size);
    const answers = await this.client.many(pixels, rows);
    this.views.forget(name); // a second time counts the same once
    this.views.count(name, answers.map((answer, row) => outcome(answer, labels[row])), { isAttack });
  }

  async #squareAll() {
    const { count } = this.examples;
    for (let index = 0; index < count && !this.isStopped; index += 1) {
      this.quietly(index);
      await this.#squareOne(`${index + 1} of ${count}: `);
    }
  }

  async #squareOne(prefix) {
    const { client, state, views, examples: { shape } } = this;
    if (state.picture === null) return;
    const eps = Number($('square-eps').value) / 255;
    const queries = Number($('square-queries').value);
    const sees = document.querySelector('input[name=sees]:checked').value;
    const benign = toPixels(state.picture, shape);
    state.turn += 1; // what was asked before concerns another picture
    const before = await client.look(benign);
    if (this.isStopped) return;
    // Where nobody has said what it is, what the network says of the unattacked picture is taken for the truth.
    const truth = state.truth ?? before.rawLabel;
    const show = ({ asked, pixels }, text) => {
      draw($('square-canvas'), pixels, shape);
      $('square-progress').value = asked / queries;
      $('square-text').textContent = prefix + text;
    };
    $('square-canvas').hidden = false;
    const settings = { pixels: benign, truth, eps, queries, sees, seed: state.seed };
    const result = await client.square(settings, (found) => show(found, `${found.asked} of ${queries} questions asked, ${Math.max(found.loss, 0).toFixed(2)} from a mistake.`));
    state.seed += 1;
    const attack = `Square ${steps(eps)}, sees the ${sees}`;
    views.answer(await client.look(result.pixels), { benign, pixels: result.pixels, truth, attack, isAssumed: state.truth === null });
    const isMade = result.loss < 0;
    if (!isMade && result.stopped) {
      this.isStopped = true;
      show(result, `Stopped after ${result.asked} questions; not counted.`);
      return;
    }
    show(result, `${isMade ? `The ${sees} makes a mistake` : 'No mistake'} after ${result.asked} questions.`);
    views.count(attack, [outcome(result.answer, truth)]);
  }
}
