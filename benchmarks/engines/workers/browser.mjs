// onnxruntime-web in a page that browser.py serves: reads the job from the page's own origin, posts its answers there.
import { answerJob } from "/workers/answer.mjs";

const asked = new URLSearchParams(location.search);
const threads = Number(asked.get("threads"));
const provider = asked.get("provider");
const say = async (line) => {
  await fetch("/said", { method: "POST", body: JSON.stringify(line) });
};

try {
  const ort = await import(`/ort/ort.${provider}.min.mjs`);
  if (provider === "webgpu" && !(await navigator.gpu?.requestAdapter())) throw new Error("no WebGPU adapter");
  ort.env.wasm.wasmPaths = "/ort/";
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "fatal";
  const job = await (await fetch("/job/job.json")).json();
  // Threads need a page that is isolated from other origins; without it onnxruntime quietly takes one.
  await say({ version: ort.env.versions.web, threads, isolated: crossOriginIsolated });
  const read = async (name) => new Uint8Array(await (await fetch(`/job/${name}`)).arrayBuffer());
  const options = { executionProviders: [provider], logSeverityLevel: 4 };
  // Whoever serves the page gives it up when it is silent for long, and one file alone may take long in software.
  let last = performance.now();
  const alive = async () => {
    if (performance.now() - last < 10_000) return;
    last = performance.now();
    await say({ alive: true });
  };
  await answerJob(ort, job, read, say, options, alive);
  await say({ done: true });
} catch (error) {
  await say({ done: false, error: String(error) });
}
