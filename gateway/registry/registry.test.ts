/** The registry in a gateway: by its flag, on the listener of machines and on one of its own. */
import { expect, it } from "vitest";
import { MachineCredentials } from "../../pki/machine-credentials.ts";
import { send } from "../../test/registry/served.ts";
import { LedRoom } from "../../test/slots/led-room.ts";
import { start } from "../agents/fake-gateways.ts";

const keys = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
const listen = { host: "127.0.0.1", port: 0 };

it("is served to who shows the secret, and on a listener of its own to all", async () => {
  const { port: etcd } = await LedRoom.create();
  const registry = { etcd, spaces: ["fleet", "other"], plain: listen };
  const { edgePort = 0, registryPort = 0 } = await start({
    edge: { etcd, listen, tls: false, keys, registry },
  });
  const secret = new MachineCredentials(keys).secret("registry/fleet") ?? "";
  const key = "/v2/keys/a";
  expect((await send(registryPort, { method: "PUT", path: key, form: "value=1" })).status).toBe(201);
  expect((await send(edgePort, { path: `/registry/${secret}${key}` })).body).toContain('"value":"1"');
  expect((await send(edgePort, { path: key })).status).toBe(401);
  const other = new MachineCredentials(keys).secret("registry/other") ?? "";
  expect((await send(edgePort, { path: `/registry/${other}${key}` })).status).toBe(404);
  // Of the key that was replaced.
  const older = new MachineCredentials(keys.slice(1)).secret("registry/fleet") ?? "";
  expect((await send(edgePort, { path: `/registry/${older}${key}` })).status).toBe(200);
  const group = new MachineCredentials(keys).secret("fleet") ?? "";
  expect((await send(edgePort, { path: `/registry/${group}${key}` })).status).toBe(401);
});

it("is not there without the flag", async () => {
  const { port: etcd } = await LedRoom.create();
  const { edgePort = 0, registryPort } = await start({ edge: { etcd, listen, tls: false, keys } });
  expect(registryPort).toBeUndefined();
  expect((await send(edgePort, { path: "/v2/keys/" })).status).toBe(404);
});
