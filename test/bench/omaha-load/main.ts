/**
 * Machines that ask one gateway as fast as it answers, over connections that stay: a process of its own, which speaks
 * HTTP by hand so that most of the processor is left to who answers.
 */
import { connect, type Socket } from "node:net";
import { CHECK, event, IDLE, PING, requestOf } from "../../omaha/requests.ts";
import { BOOT, type Load, type Measured, machineId } from "../omaha-case.ts";

/** One connection; a request at a time. */
class Client {
  readonly #socket: Socket;
  #answer: ((text: string) => void) | undefined;
  #text = "";

  constructor(port: number) {
    this.#socket = connect({ port, host: "127.0.0.1", noDelay: true });
    this.#socket.setEncoding("latin1");
    this.#socket.on("data", (chunk: string) => {
      this.#text += chunk;
      const end = this.#text.indexOf("\r\n\r\n");
      if (end < 0) return;
      const length = Number(/content-length: (\d+)/i.exec(this.#text.slice(0, end))?.[1] ?? 0);
      if (this.#text.length < end + 4 + length) return;
      const text = this.#text;
      this.#text = "";
      this.#answer?.(text);
    });
    this.#socket.on("error", () => this.#answer?.(""));
    this.#socket.on("close", () => this.#answer?.(""));
  }

  ask(path: string, body: string): Promise<string> {
    return new Promise((resolve) => {
      this.#answer = resolve;
      this.#socket.write(
        `POST ${path} HTTP/1.1\r\nhost: bench\r\ncontent-type: text/xml\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

async function run(load: Load): Promise<Measured> {
  const measured: Measured = { requests: 0, all: 0, failures: 0, offers: 0, latencies: [] };
  const from = performance.now() + load.warmUp;
  const until = from + load.lasts;
  let next = 0;
  /** Of each machine that rebooted, how often: a boot that comes back is one of another machine with its id. */
  const reboots = new Map<number, number>();
  const bootOf = (n: number): string => {
    const times = reboots.get(n);
    return times === undefined ? BOOT : `${BOOT.slice(0, -8)}${times.toString(16).padStart(8, "0")}`;
  };
  const clients = Array.from({ length: load.connections }, () => new Client(load.port));
  await Promise.all(
    clients.map(async (client) => {
      const ask = async (n: number, version: string, inside: string): Promise<string> => {
        const bootid = `{${bootOf(n)}}`;
        const sent = { machineid: machineId(n), track: load.group, version, bootid, inside };
        const body = requestOf(sent);
        const began = performance.now();
        const answer = await client.ask(load.path, body);
        const now = performance.now();
        measured.all += 1;
        if (began >= from && now <= until) {
          measured.requests += 1;
          measured.latencies.push(now - began);
          if (!answer.startsWith("HTTP/1.1 200")) measured.failures += 1;
          if (answer.includes("<manifest")) measured.offers += 1;
        }
        return answer;
      };
      while (performance.now() < until) {
        const n = load.first + (next++ % load.machines);
        const answer = await ask(n, load.version, PING + CHECK + IDLE);
        if (load.plays === "check" || !answer.includes("<manifest")) continue;
        await ask(n, load.version, event(13, 1));
        await ask(n, load.version, event(14, 1));
        await ask(n, load.version, event(3, 1));
        const came = event(3, 2, ` previousversion="${load.version}"`);
        reboots.set(n, (reboots.get(n) ?? 0) + 1);
        await ask(n, load.target, PING + CHECK + came);
      }
    }),
  );
  for (const client of clients) client.close();
  return measured;
}

process.once("message", (load: Load) => {
  void run(load).then((measured) => {
    process.send?.(measured, () => process.exit(0));
  });
});
