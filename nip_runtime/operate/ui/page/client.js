// The page's side of the worker: calls that return promises.

export class Client {
  constructor() {
    this.waiting = new Map();
    this.last = 0;
    this.worker = new Worker('worker.js', { type: 'module' });
    this.worker.onmessage = ({ data }) => this.#take(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(event.message || 'a script of the page did not load');
    };
  }

  open(facts) { return this.#call('open', facts); }

  /** One row, with what is inside: pixels (C, H, W). */
  look(pixels) { return this.#call('look', { pixels }); }

  /** The answers of many rows. */
  many(pixels, rows) { return this.#call('many', { pixels, rows }); }

  /** A Square attack; `report` hears how far it is. */
  square(settings, report) { return this.#call('square', settings, report); }

  stop() { this.worker.postMessage({ job: 'stop' }); }

  #call(job, input, report) {
    this.last += 1;
    const id = this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, report });
      this.worker.postMessage({ id, job, input });
    });
  }

  #take({ id, result, error, progress }) {
    const call = this.waiting.get(id);
    if (progress !== undefined) {
      call?.report?.(progress);
      return;
    }
    this.waiting.delete(id);
    if (error === undefined) call?.resolve(result);
    else call?.reject(new Error(error));
  }

  #fail(message) {
    for (const call of this.waiting.values()) call.reject(new Error(message));
    this.waiting.clear();
  }
}
