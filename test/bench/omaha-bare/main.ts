/** What answering costs at least: the same request read and the same answer written, by nothing but Node.js' own server. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { parseRequest } from "../../../gateway/omaha/request.ts";
import { renderResponse } from "../../../gateway/omaha/response.ts";

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const { apps } = parseRequest(Buffer.concat(chunks));
    const body = renderResponse(
      {
        apps: apps.map(({ sentId, ping, check, events }) => ({
          ...{ appId: sentId, ping, events: events.length, check: check ? "noupdate" : undefined },
        })),
      },
      Date.now(),
    );
    response.writeHead(200, {
      "content-type": "text/xml; charset=utf-8",
      "content-length": Buffer.byteLength(body),
    });
    response.end(body);
  });
});
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
process.once("disconnect", () => process.exit(0));
