/** What a request holds that nothing is known of: counted as Prometheus reads it, while the answer is as ever. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { MachineView } from "../../coordination/machine-view.ts";
import { MachineCredentials } from "../../pki/machine-credentials.ts";
import { silentLogger } from "../../ports/log.ts";
import { CHECK, event, IDLE, PING, requestOf } from "../../test/omaha/requests.ts";
import { readAsUpdateEngine } from "../../test/omaha/update-engine.ts";
import { SeededRandom } from "../../test/sim/random.ts";
import { LedRoom } from "../../test/slots/led-room.ts";
import type { EdgeRequest, Route } from "../edge/server.ts";
import { Sightings } from "../machines/sightings.ts";
import { createGatewayMetrics, type GatewayMetrics } from "../metrics.ts";
import { omahaRoute } from "./route.ts";

let metrics: GatewayMetrics;
let route: Route;
let stop: () => void;

beforeEach(async () => {
  const led = await LedRoom.create();
  const parts = { clock: led.clock, random: new SeededRandom(5), log: silentLogger };
  const machines = new MachineView({ etcd: led.port, ...parts });
  const sightings = new Sightings({ coordination: led.room, ...parts });
  metrics = createGatewayMetrics({
    ...{ versions: () => new Map(), connections: () => 0, hasLease: () => true, waiting: () => 0 },
    ...{ machines: () => new Map(), spaces: () => [] },
  });
  route = omahaRoute({
    ...{ coordination: led.room, ...parts, machines, sightings, fleet: () => undefined },
    ...{ credentials: new MachineCredentials([]), isOpen: () => true },
    meter: (outcome) => metrics.omahaAnswered(outcome),
    unknown: (kind, count) => metrics.omahaUnknown(kind, count),
  });
  stop = () => {
    machines.stop();
    sightings.stop();
  };
});
afterEach(() => stop());

async function send(xml: string) {
  const request = { method: "POST", path: "/v1/update", body: Buffer.from(xml) };
  return await route.answer(request as unknown as EdgeRequest);
}

/** The series, without their name. */
const counted = async (): Promise<string[]> =>
  [...(await metrics.registry.metrics()).matchAll(/^slipway_gateway_omaha_unknown_total(.*)$/gm)].map(
    ([, series = ""]) => series,
  );

it("has a series of each kind, whatever the names are", async () => {
  const more = ["a", "b", "c", "d", "e", "f", "g", "h"].map((name) => ` ${name}="1"`).join("");
  const odd = requestOf({
    inside:
      `<ping active="1" e="1"/><updatecheck f="1"><z/></updatecheck>` +
      event(99, 1) +
      event(800, 7, more) +
      event(3, 7) +
      `<x/><x/><y>text</y>`,
  }).replace("<os ", `<vm z="1"/><os kind="x" `);
  const plain = await send(requestOf({ inside: PING + CHECK + IDLE.repeat(3) }));
  expect(await counted()).toEqual([]);
  const answer = await send(odd);
  expect(answer.status).toBe(200);
  expect(String(answer.body)).toBe(String(plain.body));
  expect(readAsUpdateEngine(String(answer.body))).toMatchObject({ does: "nothing" });
  expect(await counted()).toEqual([`{kind="attribute"} 11`, `{kind="element"} 5`, `{kind="event"} 3`]);
  await send(requestOf({ inside: event(1, 1) }));
  expect(await counted()).toContain(`{kind="event"} 4`);
});

it("counts nothing of what update_engine sends, nor of what can't be read", async () => {
  const known = [event(13, 1), event(14, 1), event(3, 1), event(800, 1), event(3, 9, ` errorcode="40"`)];
  const failures = [event(3, 0, ` errorcode="44"`), event(3, 0, ` errorcode="9"`), IDLE];
  await send(requestOf({ inside: PING + CHECK + [...known, ...failures].join("") }));
  expect((await send(requestOf({ appid: "", inside: event(99, 1) }))).status).toBe(400);
  expect(await counted()).toEqual([]);
});
