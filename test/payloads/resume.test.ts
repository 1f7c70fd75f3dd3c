/**
 * The way of a payload from a Release to a machine: offered at the gateway's own URL, fetched as update_engine does
 * (whole, or head first and then from where it stopped; multi_range_http_fetcher.cc), verified as it does.
 */
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { MachineView } from "../../coordination/machine-view.ts";
import { payloadKey, verifyPayload } from "../../fastpatch/crau/verify.ts";
import { type EdgeServer, startEdge } from "../../gateway/edge/server.ts";
import { Sightings } from "../../gateway/machines/sightings.ts";
import { omahaRoute } from "../../gateway/omaha/route.ts";
import { PayloadFolder } from "../../gateway/payloads/folder.ts";
import { payloadRoute } from "../../gateway/payloads/route.ts";
import { MachineCredentials } from "../../pki/machine-credentials.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { OmahaMachine } from "../omaha/machine.ts";
import { FLATCAR } from "../omaha/requests.ts";
import { SeededRandom } from "../sim/random.ts";
import { LedRoom } from "../slots/led-room.ts";
import { payloadKeys, writePayload } from "./payload-writer.ts";

const vendor = payloadKeys();
const data = writePayload({
  blobs: Array.from({ length: 40 }, (_, at) => Buffer.alloc(100_000, at)),
  signers: [{ key: vendor.privateKey, version: 2 }],
});

let directory = "";
let edge: EdgeServer;
let led: LedRoom;
let publicUrl: string | undefined;
const outcomes: string[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "slipway-resume-"));
  await mkdir(join(directory, "os-a/amd64"), { recursive: true });
  await writeFile(join(directory, "os-a/amd64/update.gz"), data);
  led = await LedRoom.create();
  const { groups } = led.gates({
    group: "workers",
    machines: { budgets: ["group/workers"], needs: 60_000, open: true },
  });
  const validUntil = led.clock.now() + 30_000;
  const sha256 = createHash("sha256").update(data).digest("hex");
  await led.room.writeGates(led.leader, {
    groups,
    budgets: [{ budget: "group/workers", max: 1, unavailable: [], validUntil }],
    offers: [
      {
        ...{ group: "workers", tracks: ["workers"], product: FLATCAR, share: 1, threshold: 100, validUntil },
        ways: {
          amd64: [
            {
              ...{ release: "os-a", version: "1.1.0", extras: [] },
              codebases: ["{gateway}/payloads/{name}/{architecture}/"],
              payload: { name: "update.gz", size: data.length, sha256 },
            },
          ],
        },
      },
    ],
  });
  const fleet = await led.room.readFleet();
  const common = { clock: led.clock, random: new SeededRandom(5), log: silentLogger };
  const view = new MachineView({ etcd: led.port, clock: led.clock, log: silentLogger });
  const sightings = new Sightings({ coordination: led.room, clock: led.clock, log: silentLogger });
  const omaha = () =>
    omahaRoute({
      ...{ machines: view, sightings, unknown: () => {} },
      ...{ ...common, coordination: led.room, fleet: () => fleet, isOpen: () => true },
      credentials: new MachineCredentials([]),
      meter: (outcome) => outcomes.push(outcome),
      ...(publicUrl === undefined ? {} : { publicUrl }),
    });
  edge = await startEdge({
    listen: { host: "127.0.0.1", port: 0 },
    routes: [
      // Made anew for each request: the port is known only once it listens.
      { prefix: "/v1/update", maxBody: 65_536, answer: (request) => omaha().answer(request) },
      payloadRoute({
        sources: [new PayloadFolder(directory, systemClock)],
        ...{ clock: systemClock, log: silentLogger },
        failed: () => {},
      }),
    ],
    ...{ clock: systemClock, log: silentLogger, meter: { answered: () => {} } },
  });
  publicUrl = `http://127.0.0.1:${edge.port}`;
});
afterEach(async () => {
  await edge.stop(0);
  await rm(directory, { recursive: true });
});

const machine = (): OmahaMachine =>
  new OmahaMachine(1, "1.0.0", async (xml) => {
    const answer = await fetch(`http://127.0.0.1:${edge.port}/v1/update/`, { method: "POST", body: xml });
    return await answer.text();
  });

async function part(url: string, range: string): Promise<Buffer> {
  const answer = await fetch(url, { headers: { range: `bytes=${range}` } });
  expect(answer.status).toBe(206);
  return Buffer.from(await answer.arrayBuffer());
}

it("is whole after a download that stopped in the middle", async () => {
  const offer = await machine().check();
  if (offer.does !== "update") throw new Error(JSON.stringify(offer));
  const [url = ""] = offer.urls;
  expect(url).toBe(`${publicUrl}/payloads/os-a/amd64/update.gz`);
  const metadata = 20 + Number(data.readBigUInt64BE(12));
  const stopped = 1_234_567;
  const fetched = Buffer.concat([
    await part(url, `0-${metadata - 1}`),
    await part(url, `${metadata}-${stopped - 1}`),
    await part(url, `${stopped}-`),
  ]);
  expect(fetched).toHaveLength(offer.size);
  const verified = await verifyPayload(
    { size: fetched.length, read: (at, length) => Promise.resolve(fetched.subarray(at, at + length)) },
    {
      ...{ key: payloadKey(vendor.pem), size: offer.size },
      sha256: Buffer.from(offer.sha256, "base64").toString("hex"),
    },
  );
  expect(verified.operations).toBe(40);
});

it("is not offered by a gateway that does not know its own URL, whatever Host a client names", async () => {
  publicUrl = undefined;
  expect(await machine().check()).toMatchObject({ does: "nothing" });
  expect(outcomes.at(-1)).toBe("NoPayload");
});
