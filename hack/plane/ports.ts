/** Free TCP ports of the loopback interface. */
import { createServer, type Server } from "node:net";

/**
 * `count` different ports that were free a moment ago. Another process may take one before it
 * is used: whoever starts a server on it tries again with others (see `isPortTaken`).
 */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = [];
  const ports: number[] = [];
  try {
    for (let i = 0; i < count; i++) {
      const server = createServer();
      servers.push(server);
      ports.push(await listen(server));
    }
    return ports;
  } finally {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }
}

/** Whether a server's log says that somebody else has its port. */
export function isPortTaken(log: string): boolean {
  return /address already in use/i.test(log);
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      if (address === null || typeof address === "string") reject(new Error("the server has no port"));
      else resolve(address.port);
    });
  });
}
