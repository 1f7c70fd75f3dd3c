/** Our certificates in grpc-js's shape; it takes changes while it runs. */
import type { experimental } from "@grpc/grpc-js";
import type { CertificateFiles, Certificates } from "../certificate-files.ts";

type Provider = experimental.CertificateProvider;
type AuthorityListener = experimental.CaCertificateUpdateListener;
type ServerListener = experimental.IdentityCertificateUpdateListener;

/** Until `stop`, each listener hears of every change. */
export function providerOf(files: CertificateFiles): Provider & { stop(): void } {
  const authorityListeners = new Set<AuthorityListener>();
  const serverListeners = new Set<ServerListener>();
  const tellAuthority = (listener: AuthorityListener, { authority }: Certificates): void =>
    listener({ caCertificate: Buffer.from(authority.bundle) });
  const tellServer = (listener: ServerListener, { server }: Certificates): void =>
    listener({ certificate: Buffer.from(server.certificate), privateKey: Buffer.from(server.key) });
  const cancel = files.onChange((certificates) => {
    for (const listener of authorityListeners) tellAuthority(listener, certificates);
    for (const listener of serverListeners) tellServer(listener, certificates);
  });
  // grpc-js registers its own listener only after it asked for the first certificate: tell it later.
  return {
    addCaCertificateListener(listener) {
      authorityListeners.add(listener);
      queueMicrotask(() => tellAuthority(listener, files.current));
    },
    removeCaCertificateListener: (listener) => void authorityListeners.delete(listener),
    addIdentityCertificateListener(listener) {
      serverListeners.add(listener);
      queueMicrotask(() => tellServer(listener, files.current));
    },
    removeIdentityCertificateListener: (listener) => void serverListeners.delete(listener),
    stop: cancel,
  };
}
