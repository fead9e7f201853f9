// onnxruntime-node:  node node.mjs JOB NODE_MODULES
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

import { answerJob } from "./answer.mjs";

const [path, modules] = process.argv.slice(2);
const ort = createRequire(join(modules, "here.js"))("onnxruntime-node");
const job = JSON.parse(await readFile(path, "utf-8"));
const say = async (line) => void process.stdout.write(`${JSON.stringify(line)}\n`);
const version = createRequire(join(modules, "here.js"))("onnxruntime-node/package.json").version;
await say({ version, node: process.versions.node });
await answerJob(ort, job, (name) => readFile(join(dirname(path), name)), say, {
  executionProviders: ["cpu"],
  intraOpNumThreads: 1,
  logSeverityLevel: 4,
});
