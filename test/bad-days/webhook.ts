/** An admission webhook of somebody else's that guards evictions: real HTTPS, and a real ValidatingWebhookConfiguration. */
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { Plane } from "../../hack/plane/plane.ts";

/** `deny` refuses with a reason; `hang` never answers; `allow` lets all go. */
export type Verdict = "deny" | "hang" | "allow";

export interface GuardWebhook {
  verdict: Verdict;
  close(): Promise<void>;
}

interface Review {
  request: { uid: string };
}

/** The reason that it denies with. */
export const REASON = "the desk says not now";
/** What the API server waits for its answer, seconds; then it refuses the eviction. */
const TIMEOUT = 2;

/** Guards the evictions of all Pods in namespaces that carry the label `guard: NAME`. */
export async function guardEvictions(plane: Plane, name: string): Promise<GuardWebhook> {
  const state = { verdict: "deny" as Verdict };
  const pair = await plane.certificateFor({ name: "guard", groups: [] }, ["127.0.0.1"]);
  const server = createServer({ cert: pair.certificate, key: pair.key }, (request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      if (state.verdict === "hang") return;
      const { uid } = (JSON.parse(body) as Review).request;
      const allowed = state.verdict === "allow";
      const answer = { uid, allowed, ...(allowed ? {} : { status: { message: REASON } }) };
      response.writeHead(200, { "content-type": "application/json" });
      response.end(
        JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", response: answer }),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const configuration = {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingWebhookConfiguration",
    metadata: { name },
    webhooks: [
      {
        name: `${name}.example.com`,
        clientConfig: {
          url: `https://127.0.0.1:${port}/`,
          caBundle: Buffer.from(plane.ca).toString("base64"),
        },
        rules: [
          { apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods/eviction"] },
        ],
        namespaceSelector: { matchLabels: { guard: name } },
        failurePolicy: "Fail",
        sideEffects: "None",
        admissionReviewVersions: ["v1"],
        timeoutSeconds: TIMEOUT,
      },
    ],
  };
  await plane.kubectl(["apply", "-f", "-"], JSON.stringify(configuration));
  return {
    get verdict() {
      return state.verdict;
    },
    set verdict(verdict) {
      state.verdict = verdict;
    },
    async close() {
      await plane.kubectl(["delete", "validatingwebhookconfiguration", name]);
      await closed(server);
    },
  };
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.closeAllConnections();
    server.close(() => resolve());
  });
}
