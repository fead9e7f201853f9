// onnxruntime-web in a page that browser.py serves: reads the job from the page's own origin, posts its answers there.
import * as ort from "/ort/ort.wasm.min.mjs";

import { answerJob } from "/workers/answer.mjs";

const threads = Number(new URLSearchParams(location.search).get("threads"));
const say = async (line) => {
  await fetch("/said", { method: "POST", body: JSON.stringify(line) });
};

try {
  ort.env.wasm.wasmPaths = "/ort/";
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "fatal";
  const job = await (await fetch("/job/job.json")).json();
  // Threads need a page that is isolated from other origins; without it onnxruntime quietly takes one.
  await say({ version: ort.env.versions.web, threads, isolated: crossOriginIsolated });
  const read = async (name) => new Uint8Array(await (await fetch(`/job/${name}`)).arrayBuffer());
  await answerJob(ort, job, read, say, { executionProviders: ["wasm"], logSeverityLevel: 4 });
  await say({ done: true });
} catch (error) {
  await say({ done: false, error: String(error) });
}
