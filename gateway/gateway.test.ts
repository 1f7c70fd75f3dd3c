/** A gateway that can't start ends all that it began: whoever tries again in the same process has no second one at work. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { silentLogger } from "../ports/log.ts";
import { SeededRandom } from "../test/sim/random.ts";
import { LedRoom } from "../test/slots/led-room.ts";
import { startGateway } from "./gateway.ts";

let led: LedRoom;
let directory: string;
let taken: Server;

beforeEach(async () => {
  led = await LedRoom.create();
  directory = await mkdtemp(join(tmpdir(), "slipway-gateway-"));
  taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  await new Promise((resolve) => taken.close(resolve));
  await rm(directory, { recursive: true });
});

const any = { host: "127.0.0.1", port: 0 };

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("it does not listen");
  return address.port;
}

/** Its edge listens on a port that is taken. */
function start(certificateDirectory: string) {
  return startGateway({
    client: { tokenReview: () => Promise.reject(new Error("nobody asks")) },
    ...{ etcd: led.port, coordination: led.room, listen: any, certificateDirectory },
    edge: {
      ...{
        etcd: led.port,
        listen: { ...any, port: portOf(taken) },
        tls: false,
        keys: [],
        publicUrl: "http://a",
      },
    },
    ...{ hosts: ["localhost"], serviceAccounts: [], audience: "slipway", name: "test" },
    ...{ clock: led.clock, random: new SeededRandom(1), log: silentLogger },
  });
}

test("where its certificates can't be read", async () => {
  const file = join(directory, "file");
  await writeFile(file, "");
  await expect(start(file)).rejects.toThrow(/file/);
  expect(led.sim.next()).toBeUndefined();
});

test("where a port is taken", async () => {
  const listening = () => process.getActiveResourcesInfo().filter((kind) => kind === "TCPServerWrap").length;
  const before = listening();
  await expect(start(directory)).rejects.toThrow(/EADDRINUSE/);
  expect(led.sim.next()).toBeUndefined();
  await expect.poll(listening, { timeout: 10_000 }).toBe(before);
});
