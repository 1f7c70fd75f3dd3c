import { X509Certificate } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { systemClock } from "../ports/clock.ts";
import { silentLogger } from "../ports/log.ts";
import { HelloSchema, SessionRequestSchema } from "../proto/gen/agent_pb.ts";
import { type FakeServer, hour, startFakeServer } from "./fake-server.ts";
import { grpcTransport, parseServers, tokenFile } from "./grpc-transport.ts";
import { dueForRenewal, machineIdentity, parseIdentity } from "./join.ts";
import type { Connection, TransportHandlers } from "./transport.ts";

let directory: string;
let server: FakeServer;
let port: number;
let connections: Connection[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "slipway-agent-"));
  server = await startFakeServer();
  port = server.port;
  await writeFile(join(directory, "ca.pem"), server.ca);
  await writeFile(join(directory, "token"), "first\n");
  await writeFile(join(directory, "join-token"), "once\n");
});

afterEach(() => {
  for (const connection of connections) connection.close();
  connections = [];
});

afterAll(async () => {
  server.close();
  await rm(directory, { recursive: true, force: true });
});

interface Heard extends TransportHandlers {
  events: string[];
}

function listen(): Heard {
  const events: string[] = [];
  return {
    events,
    handshake: () => events.push("handshake"),
    message: (response) => events.push(response.body.case ?? "nothing"),
    closed: (cause) => events.push(`closed: ${cause}`),
  };
}

const hello = create(SessionRequestSchema, {
  body: { case: "hello", value: create(HelloSchema, { machineId: "m" }) },
});

function viaToken(servers: string[] = [`localhost:${port}`]): ReturnType<typeof grpcTransport> {
  const authenticate = tokenFile(join(directory, "ca.pem"), join(directory, "token"));
  return grpcTransport({ servers, authenticate, clock: systemClock });
}

describe("the gRPC transport", () => {
  it("shakes hands, sends what was queued, and reads the token anew for each connection", async () => {
    const transport = viaToken();
    for (const token of ["first", "second"]) {
      await writeFile(join(directory, "token"), `${token}\n`);
      const heard = listen();
      const connection = transport.connect(heard);
      connections.push(connection);
      connection.send(hello);
      await vi.waitFor(() => expect(heard.events).toEqual(["handshake", "welcome"]), 20_000);
      expect(server.tokens.at(-1)).toBe(`Bearer ${token}`);
      connection.close();
      expect(heard.events.at(-1)).toBe("closed: closed by the agent");
    }
  });

  it("says so when the server ends the stream", async () => {
    const heard = listen();
    const connection = viaToken().connect(heard);
    connections.push(connection);
    connection.send(hello);
    await vi.waitFor(() => expect(heard.events).toContain("welcome"), 20_000);
    server.streams.at(-1)?.end();
    await vi.waitFor(() => expect(heard.events.at(-1)).toMatch(/^closed: localhost/), 20_000);
    expect(heard.events.filter((event) => event.startsWith("closed"))).toHaveLength(1);
  });

  it("takes the next server each time, and shakes no hand with one that another CA signed", async () => {
    const heard = [listen(), listen()];
    const transport = viaToken([`127.0.0.1:${port}`, `localhost:${port}`]);
    for (const each of heard) {
      const connection = transport.connect(each);
      connections.push(connection);
      connection.send(hello);
    }
    await vi.waitFor(() => expect(heard[1]?.events).toContain("welcome"), 20_000);
    expect(heard[0]?.events).not.toContain("handshake");
  });

  it("ends at once where there are no credentials", async () => {
    const heard = listen();
    const authenticate = tokenFile(join(directory, "nothing"), join(directory, "token"));
    grpcTransport({ servers: [`localhost:${port}`], authenticate, clock: systemClock }).connect(heard);
    await vi.waitFor(() => expect(heard.events[0]).toMatch(/^closed: credentials: ENOENT/));
  });

  it("reads lists of servers", () => {
    expect(parseServers("a:1, [::1]:2,")).toEqual(["a:1", "[::1]:2"]);
    for (const bad of ["", "a", "a:0", "a:99999", "a:b"]) expect(() => parseServers(bad)).toThrow("expected");
  });
});

describe("a machine outside the cluster", () => {
  it("joins once, keeps its identity private, and renews it after a third of its life", async () => {
    const identityDirectory = join(directory, "identity");
    const options = {
      servers: [`localhost:${port}`],
      caFile: join(directory, "ca.pem"),
      joinTokenFile: join(directory, "join-token"),
      directory: identityDirectory,
      machineId: "0123456789abcdef0123456789abcdef",
      clock: systemClock,
      log: silentLogger,
    };
    server.life = [-3 * hour, hour / 2];
    const first = await machineIdentity(options)();
    expect(server.joins).toMatchObject([{ joinToken: "once", machineId: options.machineId }]);
    expect((await stat(join(identityDirectory, "identity.pem"))).mode & 0o777).toBe(0o600);
    const certificate = first.identity?.certificate ?? Buffer.alloc(0);
    const { validFromDate, validToDate } = new X509Certificate(certificate);
    const third = validFromDate.getTime() + (validToDate.getTime() - validFromDate.getTime()) / 3;
    expect(dueForRenewal(certificate, third - 1000)).toBe(false);
    expect(dueForRenewal(certificate, third)).toBe(true);

    server.life = [-hour, 3 * hour];
    const second = await machineIdentity(options)();
    expect(server.joins).toHaveLength(1);
    const renewed = second.identity?.certificate ?? Buffer.alloc(0);
    expect(new X509Certificate(renewed).serialNumber).not.toBe(new X509Certificate(certificate).serialNumber);
    expect(second.identity?.key).not.toEqual(first.identity?.key);

    const last = await machineIdentity(options)();
    expect(last.identity).toEqual(second.identity);
    const heard = listen();
    const authenticate = machineIdentity(options);
    const transport = grpcTransport({ servers: [`localhost:${port}`], authenticate, clock: systemClock });
    const connection = transport.connect(heard);
    connections.push(connection);
    connection.send(hello);
    await vi.waitFor(() => expect(heard.events).toContain("welcome"), 20_000);
    expect(parseIdentity(await readFile(join(identityDirectory, "identity.pem"), "utf8"))).toEqual(
      last.identity,
    );
  });
});
