/** Whom the clients of one listener are, by the certificates that they show, and by the authorities that count now. */
import type { Server } from "node:https";
import type { Socket } from "node:net";
import { type PeerCertificate, type SecureContextOptions, TLSSocket } from "node:tls";
import { certificateOf, type MachineCertificate } from "../../pki/machine-credentials.ts";
import type { Cancel } from "../../ports/clock.ts";
import type { FollowedFiles } from "../followed-files.ts";
import { type ClientAuthorities, trusting } from "./client-authorities.ts";

type Followed = Pick<FollowedFiles<ClientAuthorities>, "current" | "onChange">;

export class ClientCertificates {
  readonly #authorities: Followed | undefined;
  /** Connections that were made under the authorities of now: what was shown on others counts no more. */
  #seen = new WeakSet<Socket>();

  /** Nobody is asked for a certificate without `authorities`. */
  constructor(authorities: Followed | undefined) {
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
    server.on("secureConnection", (socket) => this.#seen.add(socket));
    const cancel = this.#authorities?.onChange(() => {
      this.#seen = new WeakSet();
      changed();
      server.closeIdleConnections();
    });
    return () => cancel?.();
  }

  /** Undefined where it showed none that an authority of now accepted. */
  of(socket: Socket): MachineCertificate | undefined {
    if (!(socket instanceof TLSSocket) || !socket.authorized || this.isStale(socket)) return undefined;
    // Null once the client has gone, and empty where it showed none.
    const shown = socket.getPeerCertificate() as Partial<PeerCertificate> | null;
    return shown?.subject && certificateOf(shown.subject);
  }

  /** Whether the connection is to end with its answer, so that the client shows its certificate anew. */
  isStale(socket: Socket): boolean {
    return this.#authorities !== undefined && !this.#seen.has(socket);
  }
}
