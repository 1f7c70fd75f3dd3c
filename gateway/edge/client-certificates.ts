/** Whom the clients of one listener are, by the certificates that they show, and by the authorities that count now. */
import type { Server } from "node:https";
import type { Socket } from "node:net";
import { type SecureContextOptions, TLSSocket } from "node:tls";
import { certificateOf, type MachineCertificate } from "../../pki/machine-credentials.ts";
import type { Cancel } from "../../ports/clock.ts";
import type { FollowedFile } from "../followed-file.ts";
import { type ClientAuthorities, trusting } from "./client-authorities.ts";

export class ClientCertificates {
  readonly #authorities: Pick<FollowedFile<ClientAuthorities>, "current" | "onChange"> | undefined;
  /** Connections whose certificates were looked at by the authorities that count now. */
  #seen = new WeakSet<Socket>();
  /** Of those before them: each ends with what it is asked at the moment. */
  #stale = new WeakSet<Socket>();

  /** Nobody is asked for a certificate without `authorities`. */
  constructor(authorities: Pick<FollowedFile<ClientAuthorities>, "current" | "onChange"> | undefined) {
    this.#authorities = authorities;
  }

  /** For the listener: whoever shows none, or one that is not accepted, is served as a stranger, in its protocol's words. */
  get asking(): { requestCert: boolean; rejectUnauthorized: false } {
    return { requestCert: this.#authorities !== undefined, rejectUnauthorized: false };
  }

  /** What of the listener's context is about clients. */
  get context(): SecureContextOptions {
    return this.#authorities === undefined ? {} : trusting(this.#authorities.current);
  }

  /** Calls `changed` when the context is another. */
  follow(server: Server, changed: () => void): Cancel {
    const open = new Set<Socket>();
    server.on("secureConnection", (socket) => {
      if (this.#authorities === undefined) return;
      this.#seen.add(socket);
      open.add(socket);
      socket.once("close", () => open.delete(socket));
    });
    const cancel = this.#authorities?.onChange(() => {
      this.#seen = new WeakSet();
      for (const socket of open) this.#stale.add(socket);
      changed();
      server.closeIdleConnections();
    });
    return () => cancel?.();
  }

  /** Undefined where it showed none that an authority of now accepted. */
  of(socket: Socket): MachineCertificate | undefined {
    if (!(socket instanceof TLSSocket) || !socket.authorized || !this.#seen.has(socket)) return undefined;
    // Node.js says `authorized` of some sessions without a certificate, and has nothing of a socket that is gone.
    const { subject } = (socket.getPeerCertificate() ?? {}) as {
      subject?: Parameters<typeof certificateOf>[0];
    };
    return subject === undefined ? undefined : certificateOf(subject);
  }

  /** Whether the connection is to end with its answer, so that the client shows its certificate anew. */
  isStale(socket: Socket): boolean {
    return this.#stale.has(socket);
  }
}
