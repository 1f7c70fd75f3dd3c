/** How an agent reaches a gateway, as a port: `grpc-transport.ts`, or memory in a simulation. */
import type { SessionRequest, SessionResponse } from "../proto/gen/agent_pb.ts";

export interface TransportHandlers {
  /** A gateway answered the TLS handshake; at most once a connection, before any message. */
  handshake(): void;
  message(response: SessionResponse): void;
  /** The connection ended, or never came to be; called once, and nothing after it. */
  closed(cause: string): void;
}

export interface Connection {
  /** Queues a message. After the end it does nothing: `closed` tells. */
  send(request: SessionRequest): void;
  /** Ends the connection; `closed` is still called. */
  close(): void;
}

export interface Transport {
  /** Begins one attempt at one server, another one each time where there are several. Never throws. */
  connect(handlers: TransportHandlers): Connection;
}
