import { connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type FaultProxy, startFaultProxy } from "./fault-proxy.ts";

let server: Server;
let proxy: FaultProxy;
const clients: Socket[] = [];

/** Answers each line with itself in capitals. */
beforeEach(async () => {
  server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (bytes) => socket.write(bytes.toString().toUpperCase()));
    socket.on("end", () => socket.end("bye"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  proxy = await startFaultProxy({ port: address.port });
});

afterEach(async () => {
  await proxy.close();
  for (const client of clients.splice(0)) client.destroy();
  await new Promise((resolve) => server.close(resolve));
});

interface Client {
  socket: Socket;
  received: () => string;
  ended: () => boolean;
  error: () => string | undefined;
}

function client(): Client {
  const socket = connect({ port: proxy.port, host: "127.0.0.1", allowHalfOpen: true });
  clients.push(socket);
  let received = "";
  let ended = false;
  let error: string | undefined;
  socket.on("data", (bytes) => (received += bytes.toString()));
  socket.on("end", () => (ended = true));
  socket.on("error", (cause: NodeJS.ErrnoException) => (error = cause.code));
  return { socket, received: () => received, ended: () => ended, error: () => error };
}

test("passes bytes both ways, and a half-closed connection stays one", async () => {
  const one = client();
  one.socket.end("hello");
  await expect.poll(one.received).toBe("HELLObye");
  await expect.poll(one.ended).toBe(true);
  expect(one.error()).toBeUndefined();
});

test("reset is a RST, not an end, and new connections work at once", async () => {
  const one = client();
  one.socket.write("a");
  await expect.poll(one.received).toBe("A");
  proxy.reset();
  await expect.poll(one.error).toBe("ECONNRESET");
  expect(one.ended()).toBe(false);
  expect(proxy.connections).toBe(0);
  const two = client();
  two.socket.write("b");
  await expect.poll(two.received).toBe("B");
});

test("a stall loses nothing and binds new connections too", async () => {
  const one = client();
  one.socket.write("a");
  await expect.poll(one.received).toBe("A");
  proxy.stall();
  one.socket.write("b");
  const two = client();
  two.socket.write("c");
  await expect.poll(() => proxy.connections).toBe(2);
  expect(one.received()).toBe("A");
  expect(two.received()).toBe("");
  proxy.resume();
  await expect.poll(one.received).toBe("AB");
  await expect.poll(two.received).toBe("C");
});

test("a delay keeps order, and ends when it is set to 0", async () => {
  proxy.delay(30);
  const one = client();
  const start = performance.now();
  for (const letter of "abc") one.socket.write(letter);
  await expect.poll(one.received).toBe("ABC");
  expect(performance.now() - start).toBeGreaterThanOrEqual(60);
  proxy.delay(0);
  one.socket.write("d");
  await expect.poll(one.received).toBe("ABCD");
});

test("cutAfter lets exactly that many bytes pass, once", async () => {
  proxy.cutAfter(3);
  const one = client();
  one.socket.write("abcdef");
  await expect.poll(one.error).toBe("ECONNRESET");
  expect(one.received()).toBe("ABC");
  const two = client();
  two.socket.write("abcdef");
  await expect.poll(two.received).toBe("ABCDEF");
});

test("refused connections are refused by the kernel; open ones and the port stay", async () => {
  const port = proxy.port;
  const one = client();
  one.socket.write("a");
  await expect.poll(one.received).toBe("A");
  await proxy.refuse(true);
  const two = client();
  await expect.poll(two.error).toBe("ECONNREFUSED");
  one.socket.write("b");
  await expect.poll(one.received).toBe("AB");
  await proxy.refuse(false);
  expect(proxy.port).toBe(port);
  const three = client();
  three.socket.write("c");
  await expect.poll(three.received).toBe("C");
});

test("a reader that doesn't read makes the sender wait, and gets everything later", async () => {
  const one = client();
  const megabytes = "x".repeat(8 << 20);
  one.socket.pause();
  one.socket.write(megabytes);
  await expect.poll(() => one.socket.writableLength).toBeGreaterThan(0);
  one.socket.resume();
  await expect.poll(() => one.received().length, { timeout: 10_000 }).toBe(megabytes.length);
});
