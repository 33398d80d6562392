// SPDX-License-Identifier: MIT
// The life of jobs with graphile-worker or pg-boss: two producers submit in
// groups (in a thread of their own, so that they use the other core), handlers
// do nothing. Prints a line of JSON.
//
//   node life.mjs PEER URL JOBS GROUP EXECUTORS

import { Worker, isMainThread, workerData } from "node:worker_threads";
import { performance } from "node:perf_hooks";

const PRODUCERS = 2;

// As in its own guide to performance.
const GRAPHILE = {
  concurrentJobs: 24,
  maxPoolSize: 25,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};

const payload = (number) => ({
  binary_url: "http://127.0.0.1/tool",
  arguments: [String(number)],
});

const peers = {
  graphile: {
    async open({ url }) {
      const { makeWorkerUtils, run, Logger } = await import("graphile-worker");
      const quiet = new Logger(() => () => {});
      const utils = await makeWorkerUtils({
        connectionString: url,
        logger: quiet,
      });
      await utils.migrate();
      return { utils, run, quiet };
    },
    submit: ({ utils }, numbers) =>
      utils.addJobs(
        numbers.map((n) => ({ identifier: "bench", payload: payload(n) })),
      ),
    // Counted when it is written back, not when the handler returns.
    async execute({ run, quiet }, { url, jobs }) {
      const { EventEmitter } = await import("node:events");
      const events = new EventEmitter();
      let done = 0;
      const all = new Promise((resolve) => {
        events.on("job:complete", () => {
          if (++done === jobs) resolve();
        });
      });
      const runner = await run({
        preset: { worker: { ...GRAPHILE, connectionString: url } },
        logger: quiet,
        events,
        noHandleSignals: true,
        taskList: { bench: async () => {} },
      });
      return { all, stop: () => runner.stop() };
    },
    close: ({ utils }) => utils.release(),
  },
  pgboss: {
    async open({ url, executors }) {
      const { PgBoss } = await import("pg-boss");
      const boss = new PgBoss({
        connectionString: url,
        max: executors,
        supervise: false,
        schedule: false,
      });
      boss.on("error", (error) => {
        throw error;
      });
      await boss.start();
      await boss.createQueue("bench");
      return boss;
    },
    submit: (boss, numbers) =>
      boss.insert(
        "bench",
        numbers.map((n) => ({ data: payload(n) })),
      ),
    async execute(boss, { jobs, group, executors }) {
      let done = 0;
      const loop = async () => {
        while (done < jobs) {
          const taken = await boss.fetch("bench", { batchSize: group });
          if (taken.length === 0) {
            await new Promise((resolve) => setTimeout(resolve, 2));
            continue;
          }
          await boss.complete(
            "bench",
            taken.map((job) => job.id),
          );
          done += taken.length;
        }
      };
      return {
        all: Promise.all(Array.from({ length: executors }, loop)),
        stop: () => {},
      };
    },
    close: (boss) => boss.stop({ graceful: false }),
  },
};

async function produce(load) {
  const peer = peers[load.peer];
  const handle = await peer.open(load);
  let next = 0;
  const loop = async () => {
    while (next < load.jobs) {
      const count = Math.min(load.group, load.jobs - next);
      const numbers = Array.from({ length: count }, (_, i) => next + i);
      next += count;
      await peer.submit(handle, numbers);
    }
  };
  const { parentPort } = await import("node:worker_threads");
  parentPort.postMessage("ready");
  await new Promise((resolve) => parentPort.once("message", resolve));
  await Promise.all(Array.from({ length: PRODUCERS }, loop));
  await peer.close(handle);
}

async function measure(load) {
  const peer = peers[load.peer];
  const handle = await peer.open(load);
  const producer = new Worker(new URL(import.meta.url), { workerData: load });
  await new Promise((resolve, reject) => {
    producer.once("message", resolve);
    producer.once("error", reject);
  });
  const { all, stop } = await peer.execute(handle, load);
  const begin = performance.now();
  producer.postMessage("go");
  await all;
  const seconds = (performance.now() - begin) / 1000;
  await stop();
  await peer.close(handle);
  return { sample: load.peer, jobs_per_s: load.jobs / seconds };
}

if (isMainThread) {
  const [peer, url, ...numbers] = process.argv.slice(2);
  const [jobs, group, executors] = numbers.map(Number);
  const load = { peer, url, jobs, group, executors };
  console.log(JSON.stringify(await measure(load)));
} else {
  await produce(workerData);
}
