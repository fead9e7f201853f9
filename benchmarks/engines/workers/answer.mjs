// Answers a job in onnxruntime's JavaScript interface: the same code in Node and in a browser.
// The job's form is that of benchmarks/engines/job.py.

const DTYPES = { float32: "float32", bool: "bool", int64: "int64" };

// An array as JSON: raw little-endian bytes in base64.
function encoded(tensor) {
  const bytes = new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
  let text = "";
  for (let start = 0; start < bytes.length; start += 4096) {
    text += String.fromCharCode(...bytes.subarray(start, start + 4096));
  }
  return { dtype: DTYPES[tensor.type] ?? tensor.type, shape: [...tensor.dims], data: btoa(text) };
}

function words(error) {
  return error instanceof Error ? error.message : String(error);
}

async function milliseconds(session, feeds, names) {
  const start = performance.now();
  await session.run(feeds, names);
  return performance.now() - start;
}

// Everything that is asked of one file; an engine's refusal is an answer too. `alive` is called as it goes on.
async function answer(ort, job, entry, read, options, alive) {
  const said = { name: entry.name, batches: {}, times: {} };
  const raw = await read(entry.inputs);
  const all = new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength));
  const [count, ...shape] = entry.shape;
  const size = shape.reduce((product, length) => product * length, 1);
  const feeds = (start, stop) => ({
    [entry.input]: new ort.Tensor("float32", all.slice(start * size, stop * size), [stop - start, ...shape]),
  });
  let session;
  try {
    session = await ort.InferenceSession.create(await read(entry.model), options);
  } catch (error) {
    return { ...said, error: `opening: ${words(error)}` };
  }
  for (const batch of job.batches) {
    const found = Object.fromEntries(entry.outputs.map((name) => [name, []]));
    try {
      for (let start = 0; start < count; start += batch) {
        const outputs = await session.run(feeds(start, Math.min(start + batch, count)), entry.outputs);
        for (const name of entry.outputs) found[name].push(encoded(outputs[name]));
        await alive();
      }
      said.batches[batch] = found;
    } catch (error) {
      said.batches[batch] = { error: words(error) };
    }
  }
  if (job.rounds && !Object.values(said.batches).some((found) => found.error)) {
    const plain = await ort.InferenceSession.create(await read(entry.plain), options);
    for (const batch of job.timed) {
      const rows = feeds(0, Math.min(batch, count));
      await session.run(rows, entry.outputs);
      await plain.run(rows, [entry.plain_output]);
      said.times[batch] = [];
      for (let round = 0; round < job.rounds; round += 1) {
        said.times[batch].push([
          await milliseconds(session, rows, entry.outputs),
          await milliseconds(plain, rows, [entry.plain_output]),
        ]);
        await alive();
      }
    }
    await plain.release();
  }
  await session.release();
  return said;
}

// Answer a job.
//   ort      onnxruntime's module
//   job      parsed job.json
//   read     async: name of a file of the job -> Uint8Array
//   say      async: takes one line of the answer
//   options  of every session
//   alive    async: called while a file is answered
export async function answerJob(ort, job, read, say, options, alive = async () => {}) {
  for (const entry of job.cases) {
    await say({ begun: entry.name });
    await say(await answer(ort, job, entry, read, options, alive));
  }
}
