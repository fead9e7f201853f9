// Runs the file, off the page's own thread: one session of its very bytes, one that also shows what is inside.
import * as ort from './engine/ort.wasm.min.mjs';
import { Square, lossOf } from './attacks.js';
import { argmax } from './gate.js';

const MOST_THREADS = 4;
const BATCH = 16;
const PAUSE_MS = 40;
let facts, plain, watching, stopped;

const bytes = async (name) => {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
};

/** Lets messages in: a run that never ends would hear no stop. */
const breathe = () => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => { port1.close(); resolve(); };
  port2.postMessage(null);
});

async function open(received) {
  facts = received;
  ort.env.logLevel = 'error';
  ort.env.wasm.wasmPaths = new URL('engine/', self.location.href).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
  const [model, patch] = await Promise.all([bytes('model.onnx'), bytes('watch.bin')]);
  const options = { executionProviders: ['wasm'], logSeverityLevel: 3 };
  plain = await ort.InferenceSession.create(model, options);
  // Protobuf merges what stands behind each other: the patch only names further outputs.
  const patched = new Uint8Array(model.length + patch.length);
  patched.set(model);
  patched.set(patch, model.length);
  watching = patch.length ? await ort.InferenceSession.create(patched, options) : plain;
  const nothing = new Float32Array(facts.manifest.input.shape.reduce((product, size) => product * size, 1));
  await answers(plain, nothing, 1); // the first run pays for memory
  return { threads: ort.env.wasm.numThreads };
}

async function run(session, pixels, rows) {
  const { name, shape } = facts.manifest.input;
  return session.run({ [name]: new ort.Tensor('float32', pixels, [rows, ...shape]) });
}

async function answers(session, pixels, rows) {
  return rowsOf(await run(session, pixels, rows), rows);
}

function rowsOf(outputs, rows) {
  const logits = outputs[facts.manifest.output.name].data;
  const raw = outputs.nip_raw_logits.data;
  const classes = logits.length / rows;
  return Array.from({ length: rows }, (_, row) => {
    const part = (values) => Array.from(values.subarray(row * classes, (row + 1) * classes));
    const answer = {
      logits: part(logits),
      rawLogits: part(raw),
      suspicion: outputs.nip_suspicion.data[row],
      flagged: Boolean(outputs.nip_flagged.data[row]),
      candidate: Number(outputs.nip_candidate.data[row]),
    };
    return { ...answer, label: argmax(answer.logits), rawLabel: argmax(answer.rawLogits) };
  });
}

async function look({ pixels }) {
  const began = performance.now();
  const outputs = await run(plain, pixels, 1);
  const milliseconds = performance.now() - began;
  const inside = await run(watching, pixels, 1);
  const { tests, second_input: secondInput, second_logits: secondLogits } = facts.watched;
  const first = (name) => (name !== null && inside[name]?.data.length ? inside[name].data : null);
  return {
    ...rowsOf(outputs, 1)[0],
    milliseconds,
    statistics: Object.fromEntries(tests.map((test) => [test.key, first(test.value)?.[0] ?? null])),
    secondInput: first(secondInput)?.slice() ?? null,
    secondLogits: first(secondLogits) && Array.from(first(secondLogits)),
  };
}

async function many({ pixels, rows }) {
  const size = pixels.length / rows;
  const found = [];
  for (let start = 0; start < rows; start += BATCH) {
    const stop = Math.min(start + BATCH, rows);
    found.push(...await answers(plain, pixels.subarray(start * size, stop * size), stop - start));
    await breathe();
  }
  return found;
}

async function square({ pixels, truth, eps, queries, sees, seed }, report) {
  const search = new Square(pixels, facts.manifest.input.shape, eps, queries, seed);
  let best = null;
  let last = performance.now();
  while (search.asked < queries && !stopped) {
    const tried = search.next();
    const [answer] = await answers(plain, tried, 1);
    search.judge(lossOf(answer, truth, sees));
    if (search.best === tried) best = answer;
    if (search.loss < 0) break;
    if (performance.now() - last > PAUSE_MS) {
      report({ asked: search.asked, loss: search.loss, pixels: search.best });
      await breathe();
      last = performance.now();
    }
  }
  return { asked: search.asked, loss: search.loss, pixels: search.best ?? pixels, answer: best, stopped };
}

const jobs = { open, look, many, square };
let queue = Promise.resolve();

self.onmessage = ({ data: { id, job, input } }) => {
  if (job === 'stop') {
    stopped = true;
    return;
  }
  if (job === 'square') stopped = false; // now, not when its turn comes: a stop may arrive before that
  const report = (progress) => self.postMessage({ id, progress });
  queue = queue.then(async () => {
    try {
      self.postMessage({ id, result: await jobs[job](input, report) });
    } catch (error) {
      self.postMessage({ id, error: String(error?.message ?? error) });
    }
  });
};
